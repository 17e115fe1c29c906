//! Breaks Redis, NATS, the network and Fantail itself while readers read and publishers publish, heals it again, and lets the
//! ledger of the test kit judge the events of every reader.
//!
//! A trial stands in `trial.rs` from its beginning to its verdict, the faults in the table of `fault.rs`.

pub mod at_every_byte;
pub mod clustered;
pub mod conditions;
pub mod fault;
pub mod faults;
pub mod kill_at_every_byte;
pub mod lane;
pub mod mode;
pub mod open_then_publish;
pub mod quiet_setup;
pub mod recovery;
pub mod report;
pub mod trial;
pub mod trial_node;
pub mod trial_setup;
pub mod trial_state;

pub use conditions::Conditions;
pub use fault::{FAULTS, Fault};
pub use mode::Mode;
pub use trial::{Plan, TrialOutcome};

/// Each reader is a descriptor, and many systems allow only a thousand at first.
pub fn allow_many_descriptors() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

//! The publisher with a feed that numbers.

use fantail_wire::EventId;

use crate::testing::FedHub;
use crate::{Begin, Resume, Start};

mod lanes;
mod numbered;
mod recalls;
mod unnumbered;

/// A client comes back with an id.
fn after(id: EventId) -> Resume {
    Resume::After(id.to_string())
}

fn start(feed: &FedHub, resume: &Resume) -> Start {
    started(feed.begin(resume))
}

fn started(begin: Begin) -> Start {
    match begin {
        Begin::At(start) => start,
        wait @ Begin::Wait(_) => panic!("{wait:?}"),
    }
}

//! The log in Redis, with the whole program: clients come back to any node, after any loss, with their last id. They
//! get the missed events, once and in order, or a gap.

mod cluster;
mod deleting;
mod herd;
mod ids;
mod lanes;
mod losses;
mod moving_clients;
mod opening;
mod oversize;
mod publishing;
mod replay;
mod rights;
mod several;
mod unnumbered;

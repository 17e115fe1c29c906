//! The log in Redis, with the whole program: clients come back to any node, after any loss, with the id that they have,
//! and get what they miss, once and in order, or are told what is missing.

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

//! The publisher with a feed that numbers.

mod lanes;
mod numbered;
mod recalls;
mod unnumbered;

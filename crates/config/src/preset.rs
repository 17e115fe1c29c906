//! The settings of other programs in whose place this one stands: a layer between the defaults and the file.

mod go_values;
mod owncloud;
mod yaml;

use std::ffi::OsString;
use std::io;
use std::path::Path;

use crate::choices::Preset;
use crate::fault::Faults;
use crate::layers::Given;

/// Reads what the other program would read, as settings of this one. `is_given` tells which settings a later layer gives.
pub(crate) fn read(
    preset: Preset,
    variables: &[(OsString, OsString)],
    read_file: &dyn Fn(&Path) -> io::Result<String>,
    is_given: &dyn Fn(&str) -> bool,
) -> (Vec<Given>, Faults) {
    match preset {
        Preset::OwnCloud => owncloud::read(variables, read_file, is_given),
    }
}

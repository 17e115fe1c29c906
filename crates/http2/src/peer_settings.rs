//! The client's SETTINGS. Of them this side obeys one, the window that streams begin with: it writes no frame longer than every
//! client takes, pushes nothing, and its heads need no table.

use crate::frame::{
    ErrorCode, Fault, NUMBER_MAX, PAYLOAD_BYTES_MAX, SETTING_ENABLE_PUSH, SETTING_INITIAL_WINDOW,
    SETTING_PAYLOAD_BYTES_MAX,
};

/// Reads the settings of a frame. Returns the window that streams begin with, if it is among them.
pub(crate) fn initial_window(payload: &[u8]) -> Result<Option<i32>, Fault> {
    let mut window = None;
    for setting in payload.chunks_exact(6) {
        let name = u16::from_be_bytes([setting[0], setting[1]]);
        let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
        match name {
            SETTING_ENABLE_PUSH if value > 1 => return Err(Fault::protocol("ENABLE_PUSH is 0 or 1")),
            SETTING_INITIAL_WINDOW if value > NUMBER_MAX => {
                return Err(Fault::new(ErrorCode::FlowControl, "a window that is too large"));
            }
            SETTING_INITIAL_WINDOW => window = Some(value.cast_signed()),
            SETTING_PAYLOAD_BYTES_MAX if !(PAYLOAD_BYTES_MAX as u32..1 << 24).contains(&value) => {
                return Err(Fault::protocol("MAX_FRAME_SIZE is between 2^14 and 2^24 - 1"));
            }
            _ => {}
        }
    }
    Ok(window)
}

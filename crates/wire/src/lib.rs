//! The wire forms: channel names, events, ids and the frames that carry them.
//!
//! Everything here is pure: no IO, no runtime, no clock. This is the only crate that knows the SSE text form
//! (WHATWG HTML, section 9.2 "Server-sent events") and how a frame is wrapped as one HTTP/1.1 chunk.

#![forbid(unsafe_code)]

mod bare_blocks;
mod channel_escape;
mod channel_name;
mod channel_pattern;
mod closing;
mod event;
mod feed_state;
mod frame;
mod gap;
mod id;
mod lanes;
mod opening;
mod slow_policy;
mod sse;
mod terms;
mod words;

pub use bare_blocks::BareBlocks;
pub use channel_escape::{escape_in_channel, unescape_in_channel};
pub use channel_name::{CHANNEL_NAME_BYTES_MAX, ChannelName, ChannelNameError};
pub use channel_pattern::{ChannelPattern, ChannelPatternError};
pub use closing::{Closing, closing_frame};
pub use event::{
    EVENT_TYPE_BYTES_MAX, Event, EventError, EventFields, EventType, PUBLISHER_ID_BYTES_MAX, Publication, PublisherId,
    RETRY_MS_MAX,
};
pub use feed_state::{FeedState, feed_frame};
pub use frame::{Frame, Framing, end_of_body, keepalive};
pub use gap::{GapReason, gap_frame, gap_frame_without_id, silent_gap_frame};
pub use id::{EventId, IdError, Term};
pub use lanes::{LANE_NAME_BYTES_MAX, LANES_MAX, Lane, LaneError, LaneName, LaneNameError, Lanes, TooManyLanes};
pub use opening::opening_frame;
pub use slow_policy::SlowPolicy;
pub use sse::{EncodeError, encode, encode_among};
pub use terms::{EndedTerm, Terms};

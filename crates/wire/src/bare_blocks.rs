//! The end of a block that carries no data.

use crate::words::words;

words! {
    /// How a block without data ends: the opening, a keepalive, an id or a reconnection time alone.
    ///
    /// An `EventSource` dispatches nothing at the end of such a block, but keeps its id from then on (WHATWG HTML, 9.2.6). Other
    /// clients, such as `@microsoft/fetch-event-source`, hand an empty event to their program there.
    pub enum BareBlocks {
        /// With an empty line.
        Closed = "closed",
        /// Without one: its fields join the block of the next event. Clients of this kind keep an id at its line, so the id of an event
        /// stands behind the event, and joins the next block too. A client that keeps it only at an empty line has it one event
        /// later, and may get that event twice.
        Joined = "joined",
    }
}

impl BareBlocks {
    /// The last bytes of a block without data.
    pub(crate) fn end(self) -> &'static str {
        match self {
            Self::Closed => "\n",
            Self::Joined => "",
        }
    }
}

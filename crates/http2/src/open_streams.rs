//! The open streams of a connection: 12 bytes each.

use crate::frame::NUMBER_MAX;

/// The owner of a stream that nobody has yet.
const NOBODY: u32 = u32::MAX;

/// An open stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenStream {
    pub(crate) id: u32,
    /// Bytes of text that it may be sent. Less than none if the client has taken some back.
    pub(crate) window: i32,
    owner: u32,
}

/// All of them, in the order of their numbers: new ones have higher numbers than those that are there.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams(Vec<OpenStream>);

impl OpenStream {
    pub(crate) fn owner(&self) -> Option<u32> {
        Some(self.owner).filter(|owner| *owner != NOBODY)
    }
}

impl OpenStreams {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn open(&mut self, id: u32, window: i32) {
        // By halves, not by doubling: an idle stream pays for the room that is left.
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(self.0.len() / 2 + 2);
        }
        self.0.push(OpenStream { id, window, owner: NOBODY });
    }

    pub(crate) fn get(&self, id: u32) -> Option<&OpenStream> {
        self.at(id).map(|at| &self.0[at])
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut OpenStream> {
        self.at(id).map(|at| &mut self.0[at])
    }

    /// Gives a stream to its owner. False if it is not open.
    pub(crate) fn give(&mut self, id: u32, owner: u32) -> bool {
        let stream = self.get_mut(id);
        stream.map(|stream| stream.owner = owner).is_some()
    }

    pub(crate) fn close(&mut self, id: u32) -> Option<OpenStream> {
        let closed = self.0.remove(self.at(id)?);
        if self.0.capacity() > 2 * self.0.len() + 4 {
            self.0.shrink_to(self.0.len() + self.0.len() / 2);
        }
        Some(closed)
    }

    pub(crate) fn owners(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(OpenStream::owner)
    }

    /// Moves all windows. False if one is too large then.
    pub(crate) fn move_windows(&mut self, by: i32) -> bool {
        self.0.iter_mut().all(|stream| match stream.window.checked_add(by) {
            Some(window) => {
                stream.window = window;
                true
            }
            None => by < 0,
        })
    }

    fn at(&self, id: u32) -> Option<usize> {
        self.0.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}

/// A window with so many bytes more. None if it is too large then.
pub(crate) fn widened(window: i32, more: u32) -> Option<i32> {
    let wide = i64::from(window) + i64::from(more);
    (wide <= i64::from(NUMBER_MAX)).then_some(wide as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_stream_costs_12_bytes_and_at_most_half_of_that_again_for_room() {
        assert_eq!(size_of::<OpenStream>(), 12);
        let mut streams = OpenStreams::default();
        for id in 0..100 {
            streams.open(2 * id + 1, 0);
            assert!(streams.0.capacity() <= streams.len() * 3 / 2 + 2);
        }
        for id in 0..100 {
            assert!(streams.close(2 * id + 1).is_some());
            assert!(streams.0.capacity() <= 2 * streams.len() + 4);
        }
    }

    #[test]
    fn windows_go_below_zero_and_never_beyond_their_bound() {
        let mut streams = OpenStreams::default();
        streams.open(1, 100);
        assert!(streams.move_windows(-300));
        assert_eq!(streams.get(1).map(|stream| stream.window), Some(-200));
        assert!(streams.move_windows(i32::MAX));
        assert!(!streams.move_windows(i32::MAX));
        assert_eq!(widened(-200, NUMBER_MAX), Some(i32::MAX - 200));
        assert_eq!([widened(1, NUMBER_MAX), widened(0, NUMBER_MAX)], [None, Some(i32::MAX)]);
    }
}

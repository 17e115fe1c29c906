//! The channels of a storm: a few busy ones, many ordinary ones, and some that hardly anyone follows.

use fantail_testkit::Random;

const BUSY: usize = 3;
const ORDINARY: usize = 47;
const RARE: usize = 10;
const RARE_FROM: usize = BUSY + ORDINARY;
const CHANNELS: usize = RARE_FROM + RARE;

/// All channels by name.
#[derive(Debug)]
pub(crate) struct Sea {
    names: Vec<String>,
}

impl Sea {
    pub(crate) fn new() -> Self {
        let name = |number| match number {
            ..BUSY => format!("busy/{number}"),
            BUSY..RARE_FROM => format!("c{number}"),
            _ => format!("rare:{number}"),
        };
        Self { names: (0..CHANNELS).map(name).collect() }
    }

    pub(crate) fn all(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Channels for a stream that can hardly keep up.
    pub(crate) fn choose_busy(&self, random: &mut Random) -> Vec<&str> {
        let mut chosen = vec![self.one_of(0, BUSY, random)];
        if random.chance(1, 2) {
            chosen.push(self.one_of(BUSY, CHANNELS, random));
        }
        chosen
    }

    /// One channel mostly, else two to five, each once.
    pub(crate) fn choose(&self, random: &mut Random) -> Vec<&str> {
        let count = if random.chance(3, 5) { 1 } else { 2 + random.below(4) };
        let mut chosen: Vec<&str> = Vec::new();
        for _ in 0..count {
            let rare = random.chance(1, 200);
            let (first, end) = if rare { (RARE_FROM, CHANNELS) } else { (BUSY, RARE_FROM) };
            let channel = self.one_of(first, end, random);
            if !chosen.contains(&channel) {
                chosen.push(channel);
            }
        }
        chosen
    }

    /// Where an event goes: half of all go to the busy channels, some to several channels at once.
    pub(crate) fn choose_for_event(&self, random: &mut Random) -> Vec<&str> {
        if random.chance(1, 2) {
            return vec![self.one_of(0, BUSY, random)];
        }
        if random.chance(5, 6) {
            return vec![self.one_of(BUSY, CHANNELS, random)];
        }
        let mut chosen: Vec<&str> = (0..2 + random.below(3)).map(|_| self.one_of(0, CHANNELS, random)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    fn one_of(&self, first: usize, end: usize, random: &mut Random) -> &str {
        random.pick(&self.names[first..end]).unwrap()
    }
}

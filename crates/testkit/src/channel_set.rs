//! Channels for many clients at random: a few busy ones, many ordinary ones, and some that hardly anyone follows.

use crate::random::Random;

/// All channels by name.
#[derive(Debug, Clone)]
pub struct ChannelSet {
    names: Vec<String>,
    busy: usize,
    ordinary: usize,
}

impl ChannelSet {
    /// So many channels of each kind; at least one of each.
    pub fn new(busy: usize, ordinary: usize, rare: usize) -> Self {
        let (busy, ordinary, rare) = (busy.max(1), ordinary.max(1), rare.max(1));
        let name = |number| match number {
            _ if number < busy => format!("busy/{number}"),
            _ if number < busy + ordinary => format!("c{number}"),
            _ => format!("rare:{number}"),
        };
        Self { names: (0..busy + ordinary + rare).map(name).collect(), busy, ordinary }
    }

    /// The same with this before every name.
    #[must_use]
    pub fn behind(mut self, prefix: &str) -> Self {
        self.names.iter_mut().for_each(|name| name.insert_str(0, prefix));
        self
    }

    /// All of them.
    pub fn all(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// All but the rare ones.
    pub fn frequented(&self) -> Vec<&str> {
        self.names[..self.busy + self.ordinary].iter().map(String::as_str).collect()
    }

    /// The channels that get half of all events.
    pub fn busy(&self) -> Vec<&str> {
        self.names[..self.busy].iter().map(String::as_str).collect()
    }

    /// One that hardly anyone follows.
    pub fn choose_rare(&self, random: &mut Random) -> &str {
        self.one_of(self.busy + self.ordinary, self.names.len(), random)
    }

    /// Channels for a stream that can hardly keep up.
    pub fn choose_busy(&self, random: &mut Random) -> Vec<&str> {
        let mut chosen = vec![self.one_of(0, self.busy, random)];
        if random.chance(1, 2) {
            chosen.push(self.one_of(self.busy, self.names.len(), random));
        }
        chosen
    }

    /// One channel mostly, else two to five, each once.
    pub fn choose(&self, random: &mut Random) -> Vec<&str> {
        let count = if random.chance(3, 5) { 1 } else { 2 + random.below(4) };
        let mut chosen: Vec<&str> = Vec::new();
        for _ in 0..count {
            let rare = random.chance(1, 200);
            let rare_from = self.busy + self.ordinary;
            let (first, end) = if rare { (rare_from, self.names.len()) } else { (self.busy, rare_from) };
            let channel = self.one_of(first, end, random);
            if !chosen.contains(&channel) {
                chosen.push(channel);
            }
        }
        chosen
    }

    /// The channels of an event: half of all go to the busy ones, some to several at once.
    pub fn choose_for_event(&self, random: &mut Random) -> Vec<&str> {
        if random.chance(1, 2) {
            return vec![self.one_of(0, self.busy, random)];
        }
        if random.chance(5, 6) {
            return vec![self.one_of(self.busy, self.names.len(), random)];
        }
        let count = 2 + random.below(3);
        let mut chosen: Vec<&str> = (0..count).map(|_| self.one_of(0, self.names.len(), random)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    fn one_of(&self, first: usize, end: usize, random: &mut Random) -> &str {
        random.pick(&self.names[first..end]).expect("there is at least one channel of each kind")
    }
}

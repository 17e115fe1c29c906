//! The kernel's figures about this process, read at a scrape.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// The figures of one moment. As `f64`, since that is what the exposition takes and none of them
/// comes near the 2^53 up to which it is exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ProcessFigures {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: f64,
    pub(crate) open_fds: f64,
    pub(crate) max_fds: f64,
    pub(crate) threads: f64,
    pub(crate) start_time_seconds: f64,
}

impl ProcessFigures {
    /// Reads them all, or none: where `/proc` is hidden the scrape goes without.
    pub(crate) fn read(started: SystemTime) -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let stat = Stat::parse(&stat)?;
        Some(Self {
            cpu_seconds: stat.cpu_ticks as f64 / clock_ticks_per_second() as f64,
            resident_bytes: stat.resident_pages as f64 * page_size() as f64,
            open_fds: open_fds()? as f64,
            // Linux bounds descriptors always; elsewhere "no bound" would show as 0.
            max_fds: getrlimit(Resource::Nofile).current.unwrap_or(0) as f64,
            threads: stat.threads as f64,
            start_time_seconds: started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64(),
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    resident_pages: u64,
}

impl Stat {
    /// The program's name comes second, in parentheses, and may hold blanks and parentheses; what
    /// can be counted on starts after the last of them, with the third field of the manual.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<_> = after_name.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, threads: field(20)?, resident_pages: field(24)? })
    }
}

/// Since Linux 6.2 the size of the directory is the number of descriptors. Before, it is zero and
/// they have to be listed, which takes long with a hundred thousand of them but is still right.
fn open_fds() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        // One of the entries is the listing's own descriptor.
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    // A failed unwrap is how a test fails.
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn figures_are_found_behind_a_name_with_blanks_and_parentheses() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 5 0 12345 1000000 250 1844 1 1";
        assert_eq!(Stat::parse(stat), Some(Stat { cpu_ticks: 100, threads: 5, resident_pages: 250 }));
    }

    #[test]
    fn a_line_that_is_cut_short_gives_nothing() {
        for stat in ["", "42 (fantail)", "42 (fantail) S 1 42 42 0 -1 4194560 100 0 0 0 70", "42 (fantail) S x x"] {
            assert_eq!(Stat::parse(stat), None, "{stat}");
        }
    }

    #[test]
    fn this_process_has_memory_threads_and_descriptors_within_its_limit() {
        let figures = ProcessFigures::read(SystemTime::now()).unwrap();
        assert!(figures.resident_bytes > 0.0 && figures.threads >= 1.0, "{figures:?}");
        assert!(figures.open_fds >= 1.0 && figures.open_fds <= figures.max_fds, "{figures:?}");
    }

    #[test]
    fn opening_files_raises_the_count_of_descriptors() {
        let before = open_fds().unwrap();
        // Other tests may close some of theirs meanwhile, but nowhere near as many.
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        assert!(open_fds().unwrap() >= before + 90);
        drop(files);
    }
}

//! What a gateway takes up, looked at again and again, and whether the last half of a run takes more than the first.

use crate::fleet::Fleet;

/// Something that must not grow.
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    /// How much more the last half may have, beside a twentieth.
    slack: f64,
    read: fn(&Fleet, &str) -> f64,
}

/// All of them.
pub(crate) const MEASURES: [Measure; 11] = [
    Measure { name: "resident kB", slack: 2_048.0, read: |fleet, _| resident_kb(fleet) },
    Measure { name: "descriptors", slack: 8.0, read: |fleet, _| entries(fleet, "fd") },
    Measure { name: "threads", slack: 0.0, read: |fleet, _| entries(fleet, "task") },
    Measure { name: "metric series", slack: 8.0, read: |_, page| series(page) },
    Measure { name: "index blocks", slack: 64.0, read: |_, page| sum(page, "warmroute_index_blocks") },
    Measure { name: "index against caches", slack: 64.0, read: index_against_caches },
    Measure { name: "shadows beyond caches", slack: 64.0, read: shadows_beyond_caches },
    Measure { name: "index bytes", slack: 65_536.0, read: |_, page| sum(page, "warmroute_index_bytes") },
    Measure { name: "router bytes", slack: 65_536.0, read: |_, page| sum(page, "warmroute_router_bytes") },
    Measure { name: "in flight", slack: 4.0, read: |_, page| sum(page, "warmroute_worker_in_flight") },
    Measure { name: "waiting", slack: 4.0, read: |_, page| sum(page, "warmroute_queue_depth") },
];

fn resident_kb(fleet: &Fleet) -> f64 {
    let pages = std::fs::read_to_string(fleet.gateway().process("statm")).unwrap();
    4.0 * pages.split(' ').nth(1).unwrap().parse::<f64>().unwrap()
}

fn entries(fleet: &Fleet, folder: &str) -> f64 {
    std::fs::read_dir(fleet.gateway().process(folder)).unwrap().count() as f64
}

/// By how many blocks the index parts from the caches of workers that publish them: if `index blocks` has grown and this has not, the
/// caches hold more.
fn index_against_caches(fleet: &Fleet, page: &str) -> f64 {
    let (published, _) = fleet.cached_blocks();
    (sum(page, "warmroute_worker_kv_blocks") - published).abs()
}

/// Blocks that other workers are believed to hold, beyond those in their caches, in which answers take room too.
fn shadows_beyond_caches(fleet: &Fleet, page: &str) -> f64 {
    let assumed = sum(page, "warmroute_index_blocks") - sum(page, "warmroute_worker_kv_blocks");
    let (_, silent) = fleet.cached_blocks();
    (assumed - silent).max(0.0)
}

fn series(page: &str) -> f64 {
    page.lines().filter(|line| !line.starts_with('#')).count() as f64
}

/// The sum of all series of this name.
pub(crate) fn sum(page: &str, name: &str) -> f64 {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    page.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// A row for each look.
#[derive(Default)]
pub(crate) struct Samples(Vec<[f64; MEASURES.len()]>);

impl Samples {
    pub(crate) async fn take(&mut self, fleet: &Fleet) {
        let page = fleet.metrics().await;
        self.0.push(MEASURES.map(|measure| (measure.read)(fleet, &page)));
    }

    /// The median of the first half, of which a fifth is left out since it fills what has a bound, of the last half, and the most.
    fn halves(&self, measure: usize) -> (f64, f64, f64) {
        let all: Vec<f64> = self.0.iter().map(|row| row[measure]).collect();
        let half = all.len() / 2;
        let most = all.iter().copied().fold(0.0, f64::max);
        (median(&all[half / 5..half]), median(&all[half..]), most)
    }

    /// Prints all, and returns those that have grown.
    pub(crate) fn report(&self) -> Vec<&'static str> {
        let mut grown = Vec::new();
        println!("{} looks; medians of the first half, of the last half, and the most", self.0.len());
        for (place, measure) in MEASURES.iter().enumerate() {
            let (first, last, most) = self.halves(place);
            println!("{:>21} {first:>10.0} {last:>10.0} {most:>10.0}", measure.name);
            if last > 1.05 * first + measure.slack {
                grown.push(measure.name);
            }
        }
        grown
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

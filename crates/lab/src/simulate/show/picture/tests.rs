//! The picture as text: its labels are there, and what is drawn is well-formed.

use super::super::examples::{run, with};
use super::*;

fn picture(runs: &[crate::simulate::RunReport]) -> String {
    draw(&Group::all(runs)[0]).unwrap()
}

/// Every element that is opened is closed, in order, and nothing stands outside of the root.
fn assert_is_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in svg.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("every tag ends");
        assert!(!tag.contains('&') || tag.contains(';'), "{tag}");
        assert!(!text.contains('&') || text.contains(';'), "{text}");
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if tag.ends_with('/') || tag.starts_with('?') || tag.starts_with('!') => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_picture_says_simulated_and_names_its_axes_and_policies() {
    let runs = [run("random", 1), run("random", 2), run("cache_aware", 1), run("cache_aware", 2)];
    let svg = picture(&runs);
    assert_is_well_formed(&svg);
    for label in [
        "Simulated: agentic; h100 engines; 8 workers",
        "seeds 1 to 2; virtual time",
        "random",
        "cache_aware",
        "Mean time to first token, in seconds",
        "seconds (logarithmic)",
        "% of requests",
        "a cache without end",
        "tokens/s",
    ] {
        assert!(svg.contains(label), "{label} is missing");
    }
    assert_eq!(svg, picture(&runs), "the same runs make the same picture");
}

#[test]
fn names_cannot_break_the_picture() {
    let svg = picture(&[with("a<b>&\"c\"", |run| run.workload = "</svg>".to_owned())]);
    assert_is_well_formed(&svg);
}

#[test]
fn runs_without_any_figures_can_be_drawn() {
    let empty = with("random", |run| {
        run.ttft_quantiles_s.clear();
        run.timeline = crate::simulate::report::Timeline::default();
        run.ttft_s.mean = 0.0;
    });
    assert_is_well_formed(&picture(&[empty]));
}

#[test]
fn a_hundred_workers_and_twenty_policies_fit_in() {
    let many: Vec<_> = (0..20)
        .map(|place| {
            with(&format!("rival:number_{place}"), |run| {
                run.ttft_s.mean = 1.2_f64.powi(place) / 2.0;
                run.timeline.prefilled = vec![vec![1000; 100]; 100];
            })
        })
        .collect();
    assert_is_well_formed(&picture(&many));
}

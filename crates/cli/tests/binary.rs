//! The built binary as its users meet it: help, mistakes, taken ports, health checks, and a whole small demo.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene should stop")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn warmroute(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warmroute"))
        .args(arguments)
        .env_remove("WARMROUTE_LOG")
        .output()
        .expect("cargo builds the binary before its tests")
}

/// Standard error of a call that ends with `code`.
fn fails(arguments: &[&str], code: i32) -> String {
    let output = warmroute(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?} said: {said}");
    assert!(output.stdout.is_empty(), "errors are talk, and belong on stderr");
    said
}

/// Standard output of a call that succeeds.
fn succeeds(arguments: &[&str]) -> String {
    let output = warmroute(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?} said: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_and_version_are_data_and_name_every_subcommand() {
    let help = succeeds(&["--help"]);
    for subcommand in ["demo", "gateway", "worker", "bench", "simulate", "health"] {
        assert!(help.contains(subcommand), "{subcommand} is missing in:\n{help}");
        assert!(succeeds(&[subcommand, "--help"]).contains("Usage:"), "{subcommand} has no help");
    }
    assert!(help.contains("Exit codes"), "{help}");
    assert!(succeeds(&["--version"]).starts_with("warmroute 0."));
}

#[test]
fn a_simulation_is_told_as_tables_json_and_a_picture() {
    let usual = ["simulate", "--workload", "chat:sessions=2", "--policy", "random,cache_aware"];
    let with = |more: &[&str]| succeeds(&[&usual[..], more].concat());
    let table = with(&[]);
    assert!(table.starts_with("Simulated: chat") && table.contains("Least mean TTFT: "), "{table}");
    assert!(!table.contains('\u{1b}'), "a pipe gets no control characters");
    assert!(with(&["--markdown"]).contains("| policy | TTFT mean |"));
    let json: serde_json::Value = serde_json::from_str(&with(&["--json"])).unwrap();
    assert_eq!((&json["simulated"], json["runs"].as_array().unwrap().len()), (&true.into(), 2));
    assert_eq!(with(&["--jobs", "1"]), with(&["--jobs", "4"]), "the same flags print the same");

    let picture = std::env::temp_dir().join(format!("warmroute-{}.svg", std::process::id()));
    with(&["--plot", picture.to_str().unwrap()]);
    assert!(std::fs::read_to_string(&picture).unwrap().ends_with("</svg>\n"));
    std::fs::remove_file(picture).unwrap();
    let said = fails(&[&usual[..], &["--plot", "/nowhere/a.svg"]].concat(), 1);
    assert!(said.contains("cannot write /nowhere/a.svg; hint: "), "{said}");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    for (arguments, expected) in [
        (&["demo", "--nonsense"][..], "--nonsense"),
        (&["gateway", "--policy", "warmest"], "hint: use one of random"),
        (&["gateway", "--worker", "127.0.0.1:8001"], "hint: write it like http://"),
        (&["gateway", "--max-attempts", "many"], "`many` is no value"),
        (&["worker", "--listen", "here"], "invalid socket address"),
        (&["worker", "--fault", "melt"], "hint: write NAME"),
        (&["worker", "--engine-model", "abacus"], "hint: h100 or mocker"),
        (&["bench", "--compare", "random"], "--worker"),
        (&["bench"], "--compare"),
        (&["bench", "--url", "https://a:1"], "it does not start with http://"),
        (&["simulate", "--policy", "warmest"], "hint: use one of random"),
        (&["simulate", "--sweep", "rate=1,2", "--rate", "2"], "hint: leave one of them"),
        (&["demo", "--workload", "desk"], "hint: phrases, desks, preamble or all"),
        (&["demo", "--concurrency", "0"], "hint: --concurrency 2"),
    ] {
        let said = fails(arguments, 2);
        assert!(said.contains(expected), "{arguments:?}: expected `{expected}` in: {said}");
    }
}

#[test]
fn a_broken_settings_file_is_quoted_with_its_line() {
    let path = std::env::temp_dir().join(format!("warmroute-broken-{}.toml", std::process::id()));
    std::fs::write(&path, "seed = 1\npolicie = \"random\"\n").unwrap();
    let said = fails(&["gateway", "--config", path.to_str().unwrap()], 1);
    std::fs::remove_file(&path).unwrap();
    for expected in [path.to_str().unwrap(), "line 2", "policie", "hint:"] {
        assert!(said.contains(expected), "expected `{expected}` in: {said}");
    }
    assert!(fails(&["gateway", "--config", "/no/such/file.toml"], 1).contains("/no/such/file.toml"));
    assert!(fails(&["gateway"], 1).contains("hint: add --worker"), "a gateway needs workers");
}

#[test]
fn a_taken_port_is_an_error_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (listen, base) = (format!("--listen={address}"), format!("--port-base={}", address.port()));
    for arguments in
        [&["gateway", "--worker=http://127.0.0.1:1", &listen][..], &["worker", &listen], &["demo", &base]]
    {
        let said = fails(arguments, 1);
        assert!(
            said.contains(&address.port().to_string()) && said.contains("hint:"),
            "{arguments:?}: {said}"
        );
    }
}

/// Answers one request with this status line.
fn answer_once(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned()
    });
    (url, served)
}

#[test]
fn health_is_the_exit_code() {
    let (url, served) = answer_once("200 OK");
    assert!(succeeds(&["health", &url]).is_empty());
    assert_eq!(served.join().unwrap(), "GET /health HTTP/1.1");

    let (url, served) = answer_once("503 Service Unavailable");
    assert!(fails(&["health", &format!("{url}/readyz")], 1).contains("503"));
    assert_eq!(served.join().unwrap(), "GET /readyz HTTP/1.1");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(fails(&["health", &format!("http://{nobody}")], 1).contains("hint:"));
}

#[test]
fn the_first_sigterm_drains_and_ends_well() {
    for (arguments, up) in [
        (&["worker", "--listen=127.0.0.1:0", "--kv-cache-tokens=64"][..], "worker is up"),
        (&["worker", "--listen=127.0.0.1:0", "--engine=emulated", "--speed=0"], "emulated worker is up"),
        (&["gateway", "--listen=127.0.0.1:0", "--worker=http://127.0.0.1:1"], "gateway listens"),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_warmroute"))
            .args(arguments)
            .args(["--log=info", "--log-format=json"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(log.any(|line| line.starts_with('{') && line.contains(up)), "{arguments:?} never came up");
        let signalled = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(signalled.success());
        assert!(log.any(|line| line.contains("draining")), "{arguments:?} did not drain");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}

/// The real thing in small: real workers, gateway, model and prompts; also that the JSON is the promised one.
#[test]
fn a_small_demo_ends_well_and_prints_the_promised_json() {
    let small = ["--desks=3", "--questions=3", "--max-tokens=4", "--policies=random,cache_aware"];
    let out = succeeds(&[&["demo", "--json", "--port-base=0"], &small[..]].concat());
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["model"], "warmroute-tiny");
    let names: Vec<_> = report["workloads"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["phrases", "desks", "preamble"]);
    for workload in report["workloads"].as_array().unwrap() {
        for row in workload["policies"].as_array().unwrap() {
            assert_eq!(row["answers_equal"], row["requests"], "{row}");
            for key in
                ["latency_ms", "ttft_ms", "hit_rate", "oracle_hit_rate", "busiest_over_mean", "speedup"]
            {
                assert!(!row[key].is_null(), "{key} is missing in {row}");
            }
        }
    }
}

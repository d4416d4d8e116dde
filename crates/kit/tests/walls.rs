//! The walls of the house: which package may use which, what a core must not reach, and what may
//! enter from outside.
//!
//! Not about behaviour. These tests ask cargo and clippy themselves, so a wall that no longer
//! stands is found by the tool that enforces it (ARCHITECTURE.md, "Walls").

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may use whom: our packages, each with those it may depend on outside of tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("wormhole-kit", &[]),
    ("wormhole-chat", &["wormhole-kit"]),
    ("wormhole-magic", &["wormhole-kit"]),
    ("wormhole-sim", &["wormhole-kit"]),
    ("wormhole", &["wormhole-kit", "wormhole-magic"]),
    ("wormhole-node", &["wormhole-kit", "wormhole-whisper"]),
    ("wormhole-server", &["wormhole-kit", "wormhole-magic", "wormhole-node"]),
    ("wormhole-cli", &["wormhole", "wormhole-node"]),
    ("wormhole-whisper", &["wormhole-kit"]),
];

/// The packages without I/O.
const CORES: &[&str] = &["chat", "kit", "magic", "whisper"];

/// What no core may depend on, even through others.
const OUTSIDE: &[&str] =
    &["async-std", "getrandom", "mio", "rustix", "smol", "socket2", "tokio", "tracing"];

/// Modules of the standard library no core may name at all; clippy can only forbid single items.
const FOREIGN_MODULES: &[&str] = &["std::env", "std::fs", "std::os", "std::process"];

/// Licences that let anyone use what we build. No copyleft.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// One use of everything a core must not touch, each with the words clippy must say about it.
const TRESPASSES: &[(&str, &str)] = &[
    ("pub fn a() -> std::time::Instant { std::time::Instant::now() }", "std::time::Instant::now"),
    (
        "pub fn b() -> std::time::SystemTime { std::time::SystemTime::now() }",
        "std::time::SystemTime::now",
    ),
    ("pub fn c() { std::thread::spawn(|| ()); }", "std::thread::spawn"),
    ("pub fn d() { std::thread::sleep(std::time::Duration::ZERO); }", "std::thread::sleep"),
    ("pub fn e() -> bool { std::env::var(\"HOME\").is_ok() }", "std::env::var"),
    ("pub fn f(_: std::net::TcpStream) {}", "std::net::TcpStream"),
    ("pub fn g(_: std::net::TcpListener) {}", "std::net::TcpListener"),
    ("pub fn h(_: std::net::UdpSocket) {}", "std::net::UdpSocket"),
    ("pub fn i(_: std::fs::File) {}", "std::fs::File"),
    ("pub fn l() { println!(); }", "std::println"),
    ("pub fn m() { eprintln!(); }", "std::eprintln"),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Every file under `folder` with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

/// Runs cargo in `folder` and returns what it printed, stdout first, and whether it succeeded.
fn cargo(folder: &Path, arguments: &[&str]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO"));
    // Each package is asked about by itself.
    command.env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION");
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.success())
}

/// The packages `package` uses outside of tests, up to `depth` arrows away, itself excluded.
fn dependencies(package: &str, depth: &str) -> BTreeSet<String> {
    let arguments = format!(
        "tree --locked --quiet --package {package} --depth {depth} \
         --edges normal,build --prefix none --format {{p}}"
    );
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let (text, success) = cargo(&workspace(), &arguments);
    assert!(success, "{text}");
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}

/// Every package of the lock file, as cargo describes it.
fn locked_packages() -> Vec<Value> {
    let (text, success) =
        cargo(&workspace(), &["metadata", "--format-version", "1", "--locked", "--quiet"]);
    assert!(success, "{text}");
    let metadata: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be met by the allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let all_of = |part: &str| {
        part.split(" AND ").all(|licence| {
            LICENCES.contains(&licence.trim_matches(|c| c == '(' || c == ')' || c == ' '))
        })
    };
    match expression.split_once(" AND (") {
        Some((left, right)) => is_allowed(left) && is_allowed(right),
        None => expression.split(" OR ").any(all_of),
    }
}

/// The parts of a version without zeros at the end: `1.89.0` is `1.89`.
fn version(text: &str) -> Vec<u32> {
    let text = text.trim_end_matches(".0");
    text.split('.').map(|part| part.parse().unwrap()).collect()
}

#[test]
fn arrows_between_our_packages_point_down() {
    let ours: BTreeSet<_> = ARROWS.iter().map(|(package, _)| (*package).to_owned()).collect();
    for (package, allowed) in ARROWS {
        let used = dependencies(package, "1");
        let used: Vec<_> = used.intersection(&ours).collect();
        assert!(
            used.iter().all(|name| allowed.contains(&name.as_str())),
            "{package} may use {allowed:?} and uses {used:?}"
        );
    }
}

#[test]
fn every_package_of_the_workspace_has_its_arrows_stated() {
    let known: BTreeSet<_> = ARROWS.iter().map(|(package, _)| (*package).to_owned()).collect();
    let present: BTreeSet<_> = locked_packages()
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| package["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(present, known);
}

#[test]
fn a_core_depends_on_no_runtime_and_no_operating_system() {
    for core in CORES {
        let used = dependencies(&format!("wormhole-{core}"), "99");
        let outside: Vec<_> = used.iter().filter(|name| OUTSIDE.contains(&name.as_str())).collect();
        assert!(outside.is_empty(), "wormhole-{core} reaches {outside:?}");
    }
}

#[test]
fn the_sdk_alone_brings_no_json_rpc_and_no_database() {
    let used = dependencies("wormhole", "99");
    let unwanted = ["hyper", "jsonrpsee", "rusqlite", "libsqlite3-sys", "wormhole-whisper"];
    let is_unwanted = |name: &&String| unwanted.iter().any(|it| name.starts_with(it));
    let found: Vec<_> = used.iter().filter(is_unwanted).collect();
    assert!(found.is_empty(), "wormhole reaches {found:?}");
}

#[test]
fn clippy_stops_every_trespass_of_a_core() {
    for core in CORES {
        let probe = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("wall-{core}"));
        fs::create_dir_all(probe.join("src")).unwrap();
        let rules = workspace().join("crates").join(core).join("clippy.toml");
        fs::copy(rules, probe.join("clippy.toml")).unwrap();
        let manifest = "[package]\nname = \"probe\"\nedition = \"2024\"\n[workspace]\n";
        fs::write(probe.join("Cargo.toml"), manifest).unwrap();
        let source: Vec<_> = TRESPASSES.iter().map(|(line, _)| *line).collect();
        fs::write(probe.join("src/lib.rs"), source.join("\n")).unwrap();

        let (said, _) = cargo(&probe, &["clippy", "--offline", "--target-dir", "target"]);
        for (line, forbidden) in TRESPASSES {
            assert!(
                said.contains(&format!("`{forbidden}`")),
                "crates/{core}/clippy.toml lets this pass: {line}\n{said}"
            );
        }
    }
}

#[test]
fn a_core_names_no_module_of_the_operating_system() {
    for core in CORES {
        for (path, source) in sources(&workspace().join("crates").join(core).join("src")) {
            for module in FOREIGN_MODULES {
                assert!(!source.contains(module), "{} names {module}", path.display());
            }
        }
    }
}

#[test]
fn every_dependency_has_a_licence_we_allow() {
    for package in locked_packages() {
        let licence = package["license"].as_str().unwrap_or("none stated");
        assert!(is_allowed(licence), "{} is under {licence}", package["name"]);
    }
}

#[test]
fn copyleft_is_refused_unless_there_is_a_choice() {
    assert!(is_allowed("MIT OR GPL-3.0-only"));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_allowed("GPL-3.0-only"));
    assert!(!is_allowed("MIT AND MPL-2.0"));
    assert!(!is_allowed("Unicode-3.0 AND (LGPL-2.1 OR EUPL-1.2)"));
}

#[test]
fn no_dependency_wants_a_newer_compiler_than_we_promise() {
    let packages = locked_packages();
    // The programs promise a newer compiler than the libraries; both use the same dependencies.
    let ours = packages.iter().find(|package| package["name"] == "wormhole-kit").unwrap();
    let promised = version(ours["rust_version"].as_str().unwrap());
    let packages = packages.iter().filter(|package| package["name"] != "wormhole-cli");
    for package in packages {
        let wanted = package["rust_version"].as_str().map(version).unwrap_or_default();
        assert!(wanted <= promised, "{} wants {wanted:?}", package["name"]);
    }
}

#[test]
fn every_package_that_can_be_published_says_what_a_registry_shows() {
    let ours = locked_packages().into_iter().filter(|package| package["source"].is_null());
    for package in ours {
        if package["publish"].as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        for key in ["description", "license", "readme", "repository"] {
            assert!(package[key].is_string(), "{}: no {key}", package["name"]);
        }
        for key in ["keywords", "categories"] {
            let count = package[key].as_array().map_or(0, Vec::len);
            assert!((1..=5).contains(&count), "{}: {count} {key}", package["name"]);
        }
    }
}

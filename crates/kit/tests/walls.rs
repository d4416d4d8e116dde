//! The rules for dependencies: which package may use which, what a core must not use, and which
//! external packages are allowed.
//!
//! Not about behaviour. These tests run cargo and clippy, so they also find a rule that cargo or
//! clippy no longer enforces (ARCHITECTURE.md, "Crates and dependencies").

#![cfg(not(target_family = "wasm"))] // starts programs
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Our packages, each with those of our packages that it may depend on outside of tests.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("wormhole-disk", &[]),
    (
        "wormhole-fuzzing",
        &[
            "wormhole",
            "wormhole-chat",
            "wormhole-kit",
            "wormhole-magic",
            "wormhole-node",
            "wormhole-server",
            "wormhole-whisper",
        ],
    ),
    ("wormhole-http", &[]),
    ("wormhole-kit", &[]),
    ("wormhole-chat", &["wormhole-kit"]),
    ("wormhole-magic", &["wormhole-kit"]),
    ("wormhole-sim", &["wormhole-kit"]),
    ("wormhole-testbed", &[]),
    ("wormhole", &["wormhole-chat", "wormhole-disk", "wormhole-kit", "wormhole-magic"]),
    ("wormhole-node", &["wormhole-disk", "wormhole-http", "wormhole-kit", "wormhole-whisper"]),
    (
        "wormhole-server",
        &[
            "wormhole-chat",
            "wormhole-disk",
            "wormhole-http",
            "wormhole-kit",
            "wormhole-magic",
            "wormhole-node",
        ],
    ),
    ("wormhole-cli", &["wormhole", "wormhole-node"]),
    ("wormhole-whisper", &["wormhole-kit"]),
];

/// The packages without I/O.
const CORES: &[&str] = &["chat", "kit", "magic", "whisper"];

/// What no core may depend on, even through others.
const RUNTIMES_AND_SYSTEM: &[&str] =
    &["async-std", "getrandom", "mio", "rustix", "smol", "socket2", "tokio", "tracing"];

/// What no source of a core may import or name. Clippy can only forbid single items, and natively
/// `std::time::Instant` is the same type as `wormhole_kit::Instant`; on wasm it panics.
const FORBIDDEN_PATHS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::os",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "web_time",
];

/// The files that may name `web_time`: they export `Instant` and `UnixTime` to every core.
const EXPORTS_INSTANT: &[&str] = &["crates/kit/src/lib.rs", "crates/kit/src/time.rs"];

/// Licences that allow any use of our programs. No copyleft.
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

/// One line for each forbidden item, with what clippy must report on that line.
/// Natively both kinds of `Instant` are one type, which clippy reports by either name.
const FORBIDDEN_LINES: &[(&str, &str)] = &[
    ("pub fn a() -> std::time::Instant { std::time::Instant::now() }", "time::Instant::now"),
    (
        "pub fn b() -> std::time::SystemTime { std::time::SystemTime::now() }",
        "time::SystemTime::now",
    ),
    ("pub fn n() -> web_time::Instant { web_time::Instant::now() }", "time::Instant::now"),
    ("pub fn o() -> web_time::SystemTime { web_time::SystemTime::now() }", "time::SystemTime::now"),
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

/// Whether `source` writes `path` out, or imports it from within braces.
fn names(source: &str, path: &str) -> bool {
    let (root, inside) = path.split_once("::").unwrap_or((path, ""));
    let is_import = |statement: &&str| {
        let words: Vec<_> = statement.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        !inside.is_empty() && inside.split("::").all(|segment| words.contains(&segment))
    };
    let start = format!("use {root}::");
    let imports = source.split(&start).skip(1).filter_map(|text| text.split(';').next());
    source.contains(path) || imports.into_iter().any(|statement| is_import(&statement))
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

/// The packages that the SDK uses without its feature `chat`.
fn dependencies_without_chat() -> BTreeSet<String> {
    let arguments = "tree --locked --quiet --package wormhole --no-default-features \
                     --edges normal,build --prefix none --format {p}";
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let (text, success) = cargo(&workspace(), &arguments);
    assert!(success, "{text}");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
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

/// Whether a package may be published.
fn is_published(package: &Value) -> bool {
    !package["publish"].as_array().is_some_and(Vec::is_empty)
}

/// The parts of a version without zeros at the end: `1.89.0` is `1.89`.
fn version(text: &str) -> Vec<u32> {
    let text = text.trim_end_matches(".0");
    text.split('.').map(|part| part.parse().unwrap()).collect()
}

#[test]
fn our_packages_use_only_their_allowed_dependencies() {
    let ours: BTreeSet<_> =
        ALLOWED_DEPENDENCIES.iter().map(|(package, _)| (*package).to_owned()).collect();
    for (package, allowed) in ALLOWED_DEPENDENCIES {
        let used = dependencies(package, "1");
        let used: Vec<_> = used.intersection(&ours).collect();
        assert!(
            used.iter().all(|name| allowed.contains(&name.as_str())),
            "{package} may use {allowed:?} and uses {used:?}"
        );
    }
}

#[test]
fn the_allowed_dependencies_of_every_package_are_listed() {
    let known: BTreeSet<_> =
        ALLOWED_DEPENDENCIES.iter().map(|(package, _)| (*package).to_owned()).collect();
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
        let outside: Vec<_> =
            used.iter().filter(|name| RUNTIMES_AND_SYSTEM.contains(&name.as_str())).collect();
        assert!(outside.is_empty(), "wormhole-{core} reaches {outside:?}");
    }
}

#[test]
fn the_sdk_brings_no_json_rpc_and_no_d_bus_and_without_chat_no_database() {
    let found = |used: BTreeSet<String>, unwanted: &[&str]| {
        let is_unwanted = |name: &&String| unwanted.iter().any(|it| name.starts_with(it));
        used.iter().filter(is_unwanted).cloned().collect::<Vec<_>>()
    };
    let everything =
        found(dependencies("wormhole", "99"), &["jsonrpsee", "wormhole-whisper", "zbus"]);
    assert!(everything.is_empty(), "wormhole reaches {everything:?}");
    let unwanted = ["argon2", "hyper", "libsqlite3-sys", "rusqlite", "wormhole-chat"];
    let without_chat = found(dependencies_without_chat(), &unwanted);
    assert!(without_chat.is_empty(), "without chat, wormhole reaches {without_chat:?}");
}

#[test]
fn a_node_without_its_rpc_server_brings_no_http() {
    let used = dependencies("wormhole-node", "99");
    let unwanted = ["axum", "http", "hyper", "jsonrpsee", "tokio-tungstenite"];
    let is_unwanted = |name: &&String| unwanted.iter().any(|it| name.starts_with(it));
    let found: Vec<_> = used.iter().filter(is_unwanted).collect();
    assert!(found.is_empty(), "wormhole-node reaches {found:?}");
}

#[test]
fn clippy_reports_every_forbidden_line_in_a_core() {
    for core in CORES {
        let probe = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rules-of-{core}"));
        fs::create_dir_all(probe.join("src")).unwrap();
        let rules = workspace().join("crates").join(core).join("clippy.toml");
        fs::copy(rules, probe.join("clippy.toml")).unwrap();
        let manifest = "[package]\nname = \"probe\"\nedition = \"2024\"\n[workspace]\n\
                        [dependencies]\nweb-time = \"1\"\n";
        fs::write(probe.join("Cargo.toml"), manifest).unwrap();
        fs::copy(workspace().join("Cargo.lock"), probe.join("Cargo.lock")).unwrap();
        let source: Vec<_> = FORBIDDEN_LINES.iter().map(|(line, _)| *line).collect();
        fs::write(probe.join("src/lib.rs"), source.join("\n")).unwrap();

        let (report, _) = cargo(&probe, &["clippy", "--offline", "--target-dir", "target"]);
        let findings: Vec<_> = report.split("\n\n").collect();
        for (number, (line, forbidden)) in (1..).zip(FORBIDDEN_LINES) {
            let (name, place) = (format!("{forbidden}`"), format!("src/lib.rs:{number}:"));
            let is_found = |text: &&str| text.contains(&name) && text.contains(&place);
            assert!(
                findings.iter().any(is_found),
                "crates/{core}/clippy.toml lets this pass: {line}\n{report}"
            );
        }
    }
}

#[test]
fn a_core_names_no_clock_and_no_module_of_the_operating_system() {
    for core in CORES {
        for (path, source) in sources(&workspace().join("crates").join(core).join("src")) {
            let may_name_clocks = EXPORTS_INSTANT.iter().any(|it| path.ends_with(it));
            for forbidden in FORBIDDEN_PATHS {
                let is_allowed = may_name_clocks && *forbidden == "web_time";
                let is_found = names(&source, forbidden);
                assert!(is_allowed || !is_found, "{} names {forbidden}", path.display());
            }
        }
    }
}

#[test]
fn a_path_is_found_in_every_form_of_import() {
    for code in [
        "fn f() -> std::time::Instant;",
        "use std::time::{Duration, Instant};",
        "use std::{\n    fmt,\n    time::{self, Duration, Instant},\n};",
    ] {
        assert!(names(code, "std::time::Instant"), "{code}");
    }
    assert!(!names("use std::time::Duration;\nuse wormhole_kit::Instant;", "std::time::Instant"));
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
        if !is_published(&package) {
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

#[test]
fn a_published_package_needs_no_unpublished_one() {
    let packages = locked_packages();
    let ours = || packages.iter().filter(|package| package["source"].is_null());
    let unpublished = ours().filter(|package| !is_published(package));
    let unpublished: BTreeSet<_> =
        unpublished.map(|package| package["name"].as_str().unwrap()).collect();
    assert!(unpublished.contains("wormhole-sim"), "{unpublished:?}");
    for package in ours().filter(|package| is_published(package)) {
        for dependency in package["dependencies"].as_array().unwrap() {
            // Cargo removes a development dependency without a version when it publishes a package.
            let is_removed = dependency["kind"] == "dev" && dependency["req"] == "*";
            let (user, used) = (&package["name"], dependency["name"].as_str().unwrap());
            assert!(is_removed || !unpublished.contains(used), "{user} needs unpublished {used}");
        }
    }
}

//! Everything the command says before it connects: help, usage errors, bad codes, missing files.
//!
//! Each case in `cmd/` has the exact standard output, standard error and exit code.

#[test]
fn every_case_says_exactly_this() {
    trycmd::TestCases::new()
        .env("HOME", "/nonexistent")
        .env("NO_COLOR", "1")
        .env("XDG_DATA_HOME", "/nonexistent")
        .case("tests/cmd/*.toml");
}

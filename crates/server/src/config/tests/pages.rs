//! Tests that each help page fits on a screen and is correct.

use super::super::help;
use super::*;

#[test]
fn help_of_every_command_fits_on_a_screen() {
    let mut pages = vec![command().render_help().to_string()];
    for (name, _) in help::pages() {
        let page = refusal(&[name, "--help"]);
        assert_eq!(refusal(&[name, "-h"]), page);
        pages.push(page);
    }
    for page in pages {
        // One line is for the prompt.
        assert!(page.lines().count() <= 23, "{} lines: {page}", page.lines().count());
        let widest = page.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{widest} columns: {page}");
    }
}

#[test]
fn every_command_has_a_help_page_with_correct_flags_and_defaults() {
    let command = command();
    // `app` has the pages of clap, which cannot be wrong.
    for subcommand in
        command.get_subcommands().filter(|it| !["app", "report"].contains(&it.get_name()))
    {
        let name = subcommand.get_name();
        let (_, page) = help::pages().into_iter().find(|(page, _)| *page == name).expect(name);
        let mut flag = None;
        for word in page.split([' ', ',', '\n', '`']).filter(|word| word.starts_with("--")) {
            let long = word.trim_start_matches("--").trim_end_matches('.');
            let known = subcommand.get_arguments().find(|known| known.get_long() == Some(long));
            // The examples name flags of `run`.
            let run = command.find_subcommand("run").unwrap();
            flag =
                known.or_else(|| run.get_arguments().find(|known| known.get_long() == Some(long)));
            assert!(flag.is_some(), "{name} has no {word}");
        }
        assert!(flag.is_some(), "{page}");
        for line in page.lines() {
            let Some((before, default)) = line.split_once("[default: ") else { continue };
            let long = before.trim_start().trim_start_matches("--").split(' ').next().unwrap();
            let known = subcommand.get_arguments().find(|known| known.get_long() == Some(long));
            let values = known.unwrap().get_default_values();
            let expected = values.first().unwrap().to_str().unwrap();
            assert_eq!(default.strip_suffix(']').unwrap(), expected, "{name} {long}");
        }
    }
}

#[test]
fn every_help_page_names_the_flag_that_shows_all_flags() {
    for (name, page) in help::pages() {
        assert!(page.contains(&format!("wormhole-server {name} --help-all")), "{page}");
        let all = printed(&[name, "--help-all"]);
        let command = command();
        let flags = command.find_subcommand(name).unwrap().get_arguments();
        for long in flags.filter(|flag| !flag.is_hide_set()).filter_map(Arg::get_long) {
            assert!(all.contains(&format!("--{long}")), "{name} --{long}");
        }
    }
}

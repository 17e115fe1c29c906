//! The pages in the repository match the table. `UPDATE_EXPECT=1` writes them anew.

// A failed unwrap is how a test fails.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::{env, fs};

use fantail_config::{Flags, SETTINGS, Source, example_toml, reference_markdown, resolve};

fn expect_page(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == expected, "{} is out of date; run UPDATE_EXPECT=1 cargo test -p fantail-config", path.display());
}

#[test]
fn the_reference_page_is_the_table() {
    expect_page("docs/configuration.md", &reference_markdown());
}

#[test]
fn the_example_file_is_the_table() {
    expect_page("deploy/fantail.example.toml", &example_toml());
}

#[test]
fn the_reference_page_names_every_setting_in_all_its_spellings() {
    let page = reference_markdown();
    for setting in SETTINGS {
        for spelling in [setting.key.to_owned(), setting.flag(), setting.variable()] {
            assert!(page.contains(&format!("`{spelling}`")), "{spelling}");
        }
        assert!(page.contains(setting.doc), "{}", setting.key);
    }
}

#[test]
fn the_example_file_uncommented_is_valid_and_changes_no_default() {
    let uncommented: String = example_toml().lines().map(uncomment).collect();
    let variables = [("FANTAIL_CONFIG".into(), "example.toml".into())];
    let config = resolve(&Flags::default(), &variables, &|_| Ok(uncommented.clone())).unwrap();
    let defaults = resolve(&Flags::default(), &[], &|_| Ok(String::new())).unwrap();

    for ((setting, given), default) in SETTINGS.iter().zip(config.effective()).zip(defaults.effective()) {
        let expected = match setting.key {
            "config" => Source::Env,
            "preset" => Source::Default,
            _ => Source::File,
        };
        assert_eq!(given.source, expected, "{} is missing from the example", setting.key);
        if !setting.default.is_empty() {
            assert_eq!(given.value, default.value, "{}", setting.key);
        }
    }
}

/// A setting follows the `#` directly; prose has a space between.
fn uncomment(line: &str) -> String {
    match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{setting}\n"),
        _ => format!("{line}\n"),
    }
}

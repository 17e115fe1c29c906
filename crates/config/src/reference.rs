//! The pages about configuration, written from the table: the reference and the example file.

use std::fmt::Write;

use crate::form::Shape;
use crate::settings::{GROUPS, SETTINGS, Setting};

const REFERENCE_HEAD: &str = "\
# Configuration

<!-- Written from crates/config/src/settings.rs; change it there, then run
     UPDATE_EXPECT=1 cargo test -p fantail-config -->

Every setting has a key in a TOML file, an environment variable and a flag. Of these the later wins:
default, preset, file, variable, flag. The file is named by `--config` or `FANTAIL_CONFIG`; its keys stand at the
top level, without tables but for `[[channel]]`. `fantail config show` tells the settings in force with the
source of each.

All settings are checked before anything is bound, and everything that is wrong is reported at once, with
its file and line, variable or flag. An unknown key, flag or `FANTAIL_` variable is an error.

An empty variable counts as not set. To take back what file or variable say, give an empty flag: `--redis-url=`.

Durations have a unit: `500ms`, `15s`, `5m`. Sizes are bytes, or whole `KiB`, `MiB`, `GiB`. A list is an
array in the file, separated by commas in a variable, and a repeated flag on the command line. A list that
a later layer gives takes the place of the whole list before it.

A change takes effect at the next start.
";

const EXAMPLE_HEAD: &str = "\
# Settings of fantail. Each line shows a default, or an example where there is none;
# take away the leading # to change it. Variables (FANTAIL_KEY) and flags (--key) win over this file.
";

/// The reference page, in Markdown.
pub fn reference_markdown() -> String {
    let mut page = REFERENCE_HEAD.to_owned();
    for &(group, heading) in GROUPS {
        write_to(&mut page, format_args!("\n## {heading}\n"));
        SETTINGS.iter().filter(|setting| setting.group == group).for_each(|setting| write_entry(&mut page, setting));
    }
    page
}

/// The example file, with every setting commented out at its default.
pub fn example_toml() -> String {
    let mut file = EXAMPLE_HEAD.to_owned();
    for &(group, heading) in GROUPS {
        let mut settings = SETTINGS.iter().filter(|row| row.group == group && row.belongs_in_file()).peekable();
        if settings.peek().is_some() {
            write_to(&mut file, format_args!("\n# ---- {heading}\n"));
        }
        for setting in settings {
            let (doc, allowed, key) = (wrap(setting.doc), setting.allowed().replace('`', ""), setting.key);
            write_to(&mut file, format_args!("\n{doc}# Takes {allowed}.\n#{key} = {}\n", toml_value(setting)));
        }
    }
    file
}

fn write_entry(page: &mut String, setting: &Setting) {
    let Setting { key, doc, default, .. } = setting;
    let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
    let (flag, variable, allowed) = (setting.flag(), setting.variable(), setting.allowed());
    write_to(page, format_args!("\n### `{key}`\n\n{doc}\n\n"));
    write_to(page, format_args!("Default {default}; takes {allowed}.  \n`{flag}` · `{variable}`"));
    let notes = [
        (setting.is_repeatable(), "a list"),
        (setting.is_secret(), "secret"),
        (!setting.belongs_in_file(), "not in the file"),
    ];
    for (_, note) in notes.iter().filter(|(holds, _)| *holds) {
        write_to(page, format_args!(" · {note}"));
    }
    page.push('\n');
}

fn toml_value(setting: &Setting) -> String {
    let value = setting.example;
    match setting.form.shape() {
        Shape::Number | Shape::Switch => value.to_owned(),
        Shape::List if value.is_empty() => "[]".to_owned(),
        Shape::List => format!("[{value:?}]"),
        Shape::Tables => format!("[{value}]"),
        Shape::Text | Shape::TextOrNumber => format!("{value:?}"),
    }
}

/// Comment lines of at most 100 columns.
fn wrap(doc: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in doc.split(' ') {
        if column == 0 || column + word.len() >= 100 {
            text.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += 1 + word.len();
    }
    text.push('\n');
    text
}

fn write_to(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string does not fail");
}

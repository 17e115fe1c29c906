//! The blocks of commands on a page: where they stand, how they are marked, and the commands in them.
//!
//! A block is fenced, or indented by four spaces after an empty line. A block in front of which `<!-- needs: … -->` stands is not
//! run, and one with `<!-- run by: FILE -->` is run by that file.

/// A block of a page that holds commands for a shell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The number of its first line in the page.
    pub(crate) line: usize,
    pub(crate) mark: Option<Mark>,
    pub(crate) commands: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing runs it: it needs what a test cannot have.
    Needs(String),
    /// This file runs it.
    RunBy(String),
}

/// The blocks with commands, in the order of the page.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let lines: Vec<_> = page.lines().collect();
    let (mut found, mut mark, mut at) = (Vec::new(), None, 0);
    while at < lines.len() {
        let line = lines[at];
        let is_indented = line.starts_with("    ") && (at == 0 || lines[at - 1].trim().is_empty());
        let is_fence = line.starts_with("```");
        if is_fence || is_indented {
            let first = if is_fence { at + 1 } else { at };
            let end = if is_fence { end_of_fence(&lines, first) } else { end_of_indented(&lines, first) };
            let body = &lines[first..end];
            let is_shell = if is_fence { &line[3..] == "sh" } else { looks_like_commands(body) };
            if is_shell {
                found.push(Block { line: first + 1, mark: mark.take(), commands: commands(body) });
            }
            at = end + usize::from(is_fence);
        } else {
            if !line.trim().is_empty() {
                mark = read_mark(line);
            }
            at += 1;
        }
    }
    found
}

fn end_of_fence(lines: &[&str], first: usize) -> usize {
    (first..lines.len()).find(|at| lines[*at].starts_with("```")).unwrap_or(lines.len())
}

/// An empty line belongs to an indented block if an indented line follows.
fn end_of_indented(lines: &[&str], first: usize) -> usize {
    let is_inside = |at: usize| lines.get(at).is_some_and(|line| line.starts_with("    "));
    let mut end = first;
    while is_inside(end) || (lines.get(end).is_some_and(|line| line.is_empty()) && is_inside(end + 1)) {
        end += 1;
    }
    end
}

/// Indented text is taken for commands, unless it has the shape of what stands on our pages besides: settings, JSON, lines of
/// Redis, of HTTP, of a log and of JavaScript, and paragraphs of a list. Anything else must be fenced with its language.
fn looks_like_commands(body: &[&str]) -> bool {
    let first = body[0].trim_start();
    let begins = ["{", "[", "+", "~", "- ", "* ", "<", "ACL ", "MULTI", "GET ", "DEBUG ", "const "];
    let word = first.split([' ', ':']).next().unwrap_or_default();
    let is_setting = first.starts_with(&format!("{word} = "));
    let is_yaml = !word.is_empty() && first[word.len()..].starts_with(':');
    !begins.iter().any(|start| first.starts_with(start)) && !is_setting && !is_yaml
}

/// The lines without comments; a line that ends in a backslash goes on in the next one.
fn commands(body: &[&str]) -> Vec<String> {
    let mut commands = Vec::new();
    let mut open = String::new();
    for line in body.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(begun) = line.strip_suffix('\\') {
            open += begun;
            continue;
        }
        commands.push(std::mem::take(&mut open) + line);
    }
    commands
}

fn read_mark(line: &str) -> Option<Mark> {
    let inner = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    let of = |start: &str| inner.strip_prefix(start).map(|rest| rest.trim().to_owned()).filter(|rest| !rest.is_empty());
    of("needs:").map(Mark::Needs).or_else(|| of("run by:").map(Mark::RunBy))
}

#[test]
fn blocks_of_both_kinds_are_found_with_their_marks_and_commands() {
    let page = "Text.\n\n    fantail serve\n    # a word\n\n    curl -N \\\n        a\n\n<!-- needs: Docker -->\n\n    docker run x\n\n\
        <!-- run by: scripts/x -->\n```sh\nhelm y\n```\n\n```js\nlet z;\n```\n\n    redis_url = \"x\"\n\n    a: 1\n\n    ACL SETUSER x\n";
    let block = |line, mark, commands: &[&str]| Block {
        line,
        mark,
        commands: commands.iter().map(|it| (*it).to_owned()).collect(),
    };
    assert_eq!(
        blocks(page),
        [
            block(3, None, &["fantail serve", "curl -N a"]),
            block(11, Some(Mark::Needs("Docker".into())), &["docker run x"]),
            block(15, Some(Mark::RunBy("scripts/x".into())), &["helm y"]),
        ]
    );
    assert_eq!(blocks("<!-- needs: -->\n\n    fantail x\n")[0].mark, None, "an empty mark is none");
    assert_eq!(
        blocks("<!-- needs: x -->\nText.\n\n    fantail x\n")[0].mark,
        None,
        "a mark stands right before its block"
    );
}

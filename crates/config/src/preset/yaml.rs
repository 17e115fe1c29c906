//! A YAML file as the list of its values, each with its path and line.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

/// One value of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct YamlValue {
    /// The keys that lead to it, with dots between: `http.cors.allow_origins`.
    pub(super) path: String,
    /// One, or those of a list.
    pub(super) texts: Vec<String>,
    /// Counted from 1.
    pub(super) line: usize,
}

/// The open mappings and lists, and the values so far.
#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    values: Vec<YamlValue>,
}

enum Open {
    /// With the key whose value comes next.
    Mapping(Option<String>),
    /// The place of its value.
    List(usize),
}

impl Open {
    /// The key whose value comes next.
    fn key(&self) -> Option<&str> {
        match self {
            Self::Mapping(key) => key.as_deref(),
            Self::List(_) => None,
        }
    }
}

/// Reads a file. An error has its line.
pub(super) fn read(text: &str) -> Result<Vec<YamlValue>, (usize, String)> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error: ScanError| (error.marker().line(), error.info().to_owned()))?;
        let line = span.start.line();
        reader.take(&event, line).map_err(|reason| (line, reason.to_owned()))?;
    }
    Ok(reader.values)
}

impl Reader {
    fn take(&mut self, event: &Event<'_>, line: usize) -> Result<(), &'static str> {
        match event {
            Event::MappingStart(..) => {
                if matches!(self.open.last(), Some(Open::List(_))) {
                    return Err("a list of values is expected here, not of mappings");
                }
                self.open.push(Open::Mapping(None));
            }
            Event::SequenceStart(..) => {
                let path = self.path().ok_or("a mapping is expected here, not a list")?;
                self.add(YamlValue { path, texts: Vec::new(), line })?;
                self.open.push(Open::List(self.values.len() - 1));
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.value_is_done();
            }
            Event::Scalar(text, style, ..) => self.scalar(text, *style, line)?,
            Event::Alias(_) => return Err("an alias is not understood here; write the value itself"),
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, line: usize) -> Result<(), &'static str> {
        match self.open.last_mut() {
            Some(Open::Mapping(key @ None)) => *key = Some(text.to_owned()),
            Some(Open::Mapping(Some(_))) => {
                let is_null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
                if let (Some(path), false) = (self.path(), is_null) {
                    self.add(YamlValue { path, texts: vec![text.to_owned()], line })?;
                }
                self.value_is_done();
            }
            Some(Open::List(value)) => {
                let value = *value;
                self.values[value].texts.push(text.to_owned());
            }
            None if text.is_empty() => {} // an empty file
            None => return Err("a mapping is expected here, such as http:"),
        }
        Ok(())
    }

    fn add(&mut self, value: YamlValue) -> Result<(), &'static str> {
        if self.values.iter().any(|known| known.path == value.path) {
            return Err("this setting is given a second time");
        }
        self.values.push(value);
        Ok(())
    }

    /// The path of the value that comes next. None in a list, and where a key is due.
    fn path(&self) -> Option<String> {
        let keys: Option<Vec<_>> = self.open.iter().map(Open::key).collect();
        keys.filter(|keys| !keys.is_empty()).map(|keys| keys.join("."))
    }

    fn value_is_done(&mut self) {
        if let Some(Open::Mapping(key)) = self.open.last_mut() {
            *key = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_paths_and_lines() {
        let text = "# a file\nlog:\n  level: info\n  file: \"\"\nhttp: { addr: 0.0.0.0:9135, cors: {allow_origins: [\"*\", b]} }\n\
                    debug:\ntracing: ~\nkeepalive_interval: 30s\n";
        let read: Vec<_> = read(text).expect("YAML").into_iter().map(|it| (it.path, it.texts, it.line)).collect();
        let expected = [
            ("log.level", vec!["info"], 3),
            ("log.file", vec![""], 4),
            ("http.addr", vec!["0.0.0.0:9135"], 5),
            ("http.cors.allow_origins", vec!["*", "b"], 5),
            ("keepalive_interval", vec!["30s"], 8),
        ];
        let expected = expected.map(|(path, texts, line)| {
            (path.to_owned(), texts.into_iter().map(str::to_owned).collect::<Vec<_>>(), line)
        });
        assert_eq!(read, expected);
        assert_eq!(super::read(""), Ok(Vec::new()));
    }

    #[test]
    fn a_file_of_another_shape_is_refused_with_its_line() {
        for (text, line) in [
            ("a: b\n- c\n", 2),
            ("- a\n", 1),
            ("text\n", 1),
            ("a:\n  - {b: c}\n", 2),
            ("a: &x 1\nb: *x\n", 2),
            ("a: [1\n", 2),
            ("a: 1\nb: 2\na: 3\n", 3),
        ] {
            assert_eq!(read(text).expect_err(text).0, line, "{text}");
        }
    }
}

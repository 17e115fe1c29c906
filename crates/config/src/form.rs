//! The way in which a kind of value is read from text, bounded, shown and described.
//!
//! One text form serves all three layers, so that a value can be moved between file, variable and flag unchanged. An
//! error says what was written, except for secrets, and what to write instead.

/// One kind of value, with its bounds.
pub(crate) trait Form {
    /// The value in the program.
    type Value;
    /// The placeholder behind a flag in the help.
    const VALUE_NAME: &'static str;
    /// The form of a value in the file.
    const SHAPE: Shape = Shape::Text;
    /// Whether it may hold a password, and so is never shown whole.
    const IS_SECRET: bool = false;

    /// Reads a text; of a list, all texts with their separator between them.
    fn parse(&self, text: &str) -> Result<Self::Value, String>;

    /// The value in the form an operator would write it, secrets hidden, empty for none.
    fn show(&self, value: &Self::Value) -> String;

    /// The accepted texts, for the reference.
    fn describe(&self) -> String;
}

/// The form of a value in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Text in quotes.
    Text,
    /// A bare number.
    Number,
    /// Text in quotes, or a bare number.
    TextOrNumber,
    /// A bare `true` or `false`.
    Switch,
    /// An array of texts, which a comma separates elsewhere.
    List,
    /// An array of tables, which a semicolon separates elsewhere.
    Tables,
}

impl Shape {
    /// The separator of the texts of a list.
    pub(crate) fn separator(self) -> Option<&'static str> {
        match self {
            Self::List => Some(","),
            Self::Tables => Some(";"),
            Self::Text | Self::Number | Self::TextOrNumber | Self::Switch => None,
        }
    }

    /// Whether the file may hold a bare number.
    pub(crate) fn takes_number(self) -> bool {
        matches!(self, Self::Number | Self::TextOrNumber)
    }
}

/// The properties of a form that need no value.
pub(crate) trait AnyForm: Sync {
    fn value_name(&self) -> &'static str;
    fn shape(&self) -> Shape;
    fn is_secret(&self) -> bool;
    fn describe(&self) -> String;
}

impl<F: Form + Sync> AnyForm for F {
    fn value_name(&self) -> &'static str {
        F::VALUE_NAME
    }

    fn shape(&self) -> Shape {
        F::SHAPE
    }

    fn is_secret(&self) -> bool {
        F::IS_SECRET
    }

    fn describe(&self) -> String {
        Form::describe(self)
    }
}

/// A value that need not be there; an empty text stands for none.
pub(crate) struct Optional<F>(pub(crate) F);

impl<F: Form> Form for Optional<F> {
    type Value = Option<F::Value>;
    const VALUE_NAME: &'static str = F::VALUE_NAME;
    const SHAPE: Shape = F::SHAPE;
    const IS_SECRET: bool = F::IS_SECRET;

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        (!text.is_empty()).then(|| self.0.parse(text)).transpose()
    }

    fn show(&self, value: &Self::Value) -> String {
        value.as_ref().map_or_else(String::new, |value| self.0.show(value))
    }

    fn describe(&self) -> String {
        format!("{}, or empty for none", self.0.describe())
    }
}

/// Any number of values. A comma separates them in a variable, and no value contains one, so it does so everywhere.
pub(crate) struct List<F> {
    pub(crate) of: F,
    /// The accepted texts, in the plural.
    pub(crate) described: &'static str,
}

impl<F: Form> Form for List<F> {
    type Value = Vec<F::Value>;
    const VALUE_NAME: &'static str = F::VALUE_NAME;
    const SHAPE: Shape = Shape::List;

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        pieces(text).map(|piece| self.of.parse(piece)).collect()
    }

    fn show(&self, value: &Self::Value) -> String {
        value.iter().map(|value| self.of.show(value)).collect::<Vec<_>>().join(",")
    }

    fn describe(&self) -> String {
        self.described.to_owned()
    }
}

/// The texts between commas.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|piece| !piece.is_empty())
}

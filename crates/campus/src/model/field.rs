//! Checking the fields of a request, and the two shapes that carry them.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serialize};

use super::Refusal;

/// One field that is not valid, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// More than a person would correct at once; a large document may have a hundred thousand.
const MOST: usize = 20;

/// Collects invalid fields, so that one answer names them all, up to 20.
///
/// The name of a field is only written out when the field is refused.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldError>);

impl Fields {
    pub fn refuse(&mut self, field: impl Display, message: impl Into<String>) {
        if self.0.len() < MOST {
            self.0.push(FieldError::new(field.to_string(), message));
        }
    }

    /// Checks a text of `min..=max` characters. NUL is refused because PostgreSQL cannot store it.
    pub fn text(&mut self, field: impl Display, value: &str, min: usize, max: usize) {
        let length = value.chars().count();
        if value.contains('\0') {
            self.refuse(field, "must not contain NUL characters");
        } else if length > max {
            self.refuse(field, format!("must have at most {max} characters"));
        } else if value.trim().chars().count() < min {
            let unit = if min == 1 { "character" } else { "characters" };
            self.refuse(field, format!("must have at least {min} {unit}"));
        }
    }

    pub fn range(&mut self, field: impl Display, value: i64, min: i64, max: i64) {
        if !(min..=max).contains(&value) {
            self.refuse(field, format!("must be between {min} and {max}"));
        }
    }

    pub fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.0)) }
    }
}

/// A field of a partial update: absent keeps the value, `null` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Patch<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Patch<T> {
    /// The value after the update, given the one before it.
    pub fn over(self, current: Option<T>) -> Option<T> {
        match self {
            Self::Keep => current,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }

    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// For a field that always has a value: `null` is refused by name.
    pub fn required(self, field: &str, fields: &mut Fields) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Clear => {
                fields.refuse(field, "must not be null");
                None
            }
            Self::Set(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    pub skip: i64,
    pub limit: i64,
}

#[cfg(test)]
mod tests {
    use super::{Fields, Refusal};

    #[test]
    fn a_refusal_names_no_more_fields_than_a_person_would_read() {
        let mut fields = Fields::default();
        for index in 0..1000 {
            fields.text(format_args!("tags[{index}]"), "", 1, 10);
        }
        let Err(Refusal::Invalid(errors)) = fields.finish() else {
            panic!("nothing was refused");
        };
        assert_eq!(errors.len(), 20);
        assert_eq!(errors[19].field, "tags[19]");
    }
}

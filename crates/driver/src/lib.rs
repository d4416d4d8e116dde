//! Private delivery between people.

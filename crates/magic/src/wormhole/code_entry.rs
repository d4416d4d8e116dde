//! How the code is chosen: allocated, set, or typed in two parts.
//!
//! It sends nothing; the nameplate is claimed according to the result.

use std::num::NonZeroU8;

use rand_core::CryptoRngCore;

use super::error::ApiMisuse;
use crate::code::{Code, Nameplate, Password};

/// The state of the code.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `NoCode` | allocate | | Allocating |
/// | `NoCode` | code | | Known |
/// | `NoCode` | nameplate | | Entering |
/// | Allocating | allocated nameplate | code | Known |
/// | Entering | password | code | Known |
#[derive(Debug)]
pub(super) enum CodeEntry {
    NoCode,
    Allocating { words: NonZeroU8 },
    Entering { nameplate: Nameplate },
    Known,
}

impl CodeEntry {
    /// The server must allocate a nameplate.
    pub(super) fn allocate(&mut self, words: NonZeroU8) -> Result<(), ApiMisuse> {
        self.leave_start(Self::Allocating { words })
    }

    /// The whole code is set.
    pub(super) fn set(&mut self) -> Result<(), ApiMisuse> {
        self.leave_start(Self::Known)
    }

    /// The nameplate has been typed.
    pub(super) fn input_nameplate(&mut self, nameplate: Nameplate) -> Result<(), ApiMisuse> {
        self.leave_start(Self::Entering { nameplate })
    }

    /// The password has been typed.
    pub(super) fn input_password(&mut self, password: Password) -> Result<Code, ApiMisuse> {
        match std::mem::replace(self, Self::Known) {
            Self::Entering { nameplate } => Ok(Code::from_parts(nameplate, password)),
            Self::NoCode => Err(ApiMisuse::NameplateNotChosen),
            Self::Allocating { .. } | Self::Known => Err(ApiMisuse::CodeAlreadyChosen),
        }
    }

    /// The server allocated a nameplate; chooses the words.
    pub(super) fn on_allocated(
        &mut self,
        nameplate: Nameplate,
        rng: &mut impl CryptoRngCore,
    ) -> Option<Code> {
        let Self::Allocating { words } = *self else { return None };
        *self = Self::Known;
        Some(Code::from_parts(nameplate, Password::random(words, rng)))
    }

    /// Whether the password is still to be typed.
    pub(super) const fn is_half_entered(&self) -> bool {
        matches!(self, Self::Entering { .. })
    }

    fn leave_start(&mut self, next: Self) -> Result<(), ApiMisuse> {
        if !matches!(self, Self::NoCode) {
            return Err(ApiMisuse::CodeAlreadyChosen);
        }
        *self = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_chosen_once() {
        let nameplate = || Nameplate::parse("4").unwrap();
        let password = || Password::parse("x").unwrap();
        let words = NonZeroU8::MIN;
        let mut entry = CodeEntry::NoCode;
        assert_eq!(entry.input_password(password()), Err(ApiMisuse::NameplateNotChosen));
        let mut entry = CodeEntry::NoCode;
        assert_eq!(entry.input_nameplate(nameplate()), Ok(()));
        assert_eq!(entry.input_nameplate(nameplate()), Err(ApiMisuse::CodeAlreadyChosen));
        assert_eq!(entry.allocate(words), Err(ApiMisuse::CodeAlreadyChosen));
        assert_eq!(entry.input_password(password()).map(|code| code.to_string()), Ok("4-x".into()));
        assert_eq!(entry.input_password(password()), Err(ApiMisuse::CodeAlreadyChosen));
        assert_eq!(entry.set(), Err(ApiMisuse::CodeAlreadyChosen));
    }
}

//! Symbolic links inside an offered folder.
//!
//! Only a link whose target stays inside the folder travels as a link. Its target begins with any number of `..`, and names
//! follow. The folders above a link are real ones, so these `..` lead to a folder above it; a name after them may be another
//! link, which was checked in the same way. A `..` after a name could leave the folder through such a link, and is not allowed.

use crate::transfer::name::check;
use crate::transfer::zip::ZipPath;

/// A symbolic link.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "senders create all of it")]
pub struct LinkEntry {
    /// Its path in the offered folder.
    pub path: ZipPath,
    /// Where it leads.
    pub target: LinkTarget,
}

/// The target of a link, relative to the folder that contains it and as short as possible. It stays inside the offered folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkTarget(String);

impl LinkTarget {
    /// The shortest form of the target of the link `link`, and what it means: a path in the offered folder, empty for the
    /// folder itself. `None` if it is absolute, leads out of the folder or to itself, or is too long, or if a name in it is not
    /// allowed on this system.
    ///
    /// Without looking at the disk, this takes each `..` as the opposite of the name before it, which is wrong if that name is a
    /// link. The caller checks that both forms mean the same.
    ///
    /// ```
    /// use wormhole_magic::transfer::dilated::LinkTarget;
    /// use wormhole_magic::transfer::zip::ZipPath;
    ///
    /// let link = ZipPath::parse("lib/current")?;
    /// let (target, path) = LinkTarget::shortest("./../lib/v2/", &link).unwrap();
    /// assert_eq!((target.as_str(), path.as_str()), ("v2", "lib/v2"));
    /// assert_eq!(LinkTarget::shortest("../../v2", &link), None);
    /// # Ok::<(), wormhole_magic::transfer::zip::path::UnsafePath>(())
    /// ```
    pub fn shortest(target: &str, link: &ZipPath) -> Option<(Self, String)> {
        if target.is_empty() || target.len() > MAX_TARGET || target.starts_with('/') {
            return None;
        }
        let own: Vec<&str> = link.components().collect();
        let (_, above) = own.split_last()?;
        let mut resolved = above.to_vec();
        for component in target.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(resolved.pop()?),
                name => {
                    check(name, cfg!(windows)).ok()?;
                    resolved.push(name);
                }
            }
        }
        if resolved == own || resolved.len() > MAX_DEPTH {
            return None;
        }
        let common = above.iter().zip(&resolved).take_while(|(one, other)| one == other).count();
        let mut shortest = vec![".."; above.len().saturating_sub(common)];
        shortest.extend(resolved.iter().skip(common));
        let shortest = if shortest.is_empty() { ".".to_owned() } else { shortest.join("/") };
        (shortest.len() <= MAX_TARGET).then(|| (Self(shortest), resolved.join("/")))
    }

    /// Checks a target that the peer has sent, which must be as short as possible.
    pub(super) fn parse(target: &str, link: &ZipPath) -> Option<Self> {
        let (shortest, _) = Self::shortest(target, link)?;
        (shortest.as_str() == target).then_some(shortest)
    }

    /// The target.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Maximum length of a target in bytes: with the path of the link, it fits into a frame.
const MAX_TARGET: usize = 2048;

/// Maximum depth of what a link leads to.
const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn shortest(target: &str, link: &str) -> Option<(String, String)> {
        let link = ZipPath::parse(link).unwrap();
        LinkTarget::shortest(target, &link).map(|(target, path)| (target.0, path))
    }

    #[test]
    fn a_target_inside_the_folder_is_kept_in_its_shortest_form() {
        for (target, link, expected, path) in [
            ("b", "a", "b", "b"),
            ("./b//c/", "a", "b/c", "b/c"),
            ("../b", "d/a", "../b", "b"),
            ("../d/b", "d/a", "b", "d/b"),
            ("x/../b", "d/a", "b", "d/b"),
            ("../../e/f", "c/d/a", "../../e/f", "e/f"),
            (".", "a", ".", ""),
            ("..", "d/a", "..", ""),
            ("../d", "d/a", ".", "d"),
            ("a/x", "a", "a/x", "a/x"),
            ("..x/...", "a", "..x/...", "..x/..."),
        ] {
            let expected = Some((expected.to_owned(), path.to_owned()));
            assert_eq!(shortest(target, link), expected, "{target}");
        }
    }

    #[test]
    fn a_target_that_leads_elsewhere_or_nowhere_is_refused() {
        let long = "x/".repeat(1025);
        let deep = vec!["x"; 129].join("/");
        let long_name = "x".repeat(256);
        for (target, link) in [
            ("", "a"),
            ("/", "a"),
            ("/etc/passwd", "d/a"),
            ("..", "a"),
            ("../..", "d/a"),
            ("../../d/b", "d/a"),
            ("x/../../y", "a"),
            ("a", "a"),
            ("../d/a", "d/a"),
            ("b\0", "a"),
            (&long, "a"),
            (&deep, "a"),
            (&long_name, "a"),
        ] {
            assert_eq!(shortest(target, link), None, "{target:?}");
        }
    }

    #[test]
    fn a_peer_may_send_only_the_shortest_form() {
        let link = ZipPath::parse("d/a").unwrap();
        for target in ["b", "../b", ".", "..", "b/c"] {
            assert!(LinkTarget::parse(target, &link).is_some(), "{target}");
        }
        // After a name, `..` could leave the folder through another link.
        for target in ["b/..", "b/../c", "./b", "b/", "b//c", "../d/b", "../b/../../.."] {
            assert_eq!(LinkTarget::parse(target, &link), None, "{target}");
        }
    }
}

//! A code as a QR code.

use qrcode::{Color, EcLevel, QrCode};

/// Draws a QR code with two rows of modules in each line of text.
///
/// `None` if the text is too long.
pub(crate) fn draw(text: &str) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let width = code.width();
    let side = width + 2 * QUIET;
    let is_light = |x: usize, y: usize| {
        let inside = |at: usize| (QUIET..QUIET + width).contains(&at);
        !(inside(x) && inside(y) && code[(x - QUIET, y - QUIET)] == Color::Dark)
    };
    let line = |y: usize| {
        (0..side)
            .map(|x| match (is_light(x, y), y + 1 < side && is_light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            })
            .collect()
    };
    Some((0..side).step_by(2).map(line).collect())
}

/// Width of the white border in modules. The standard requires four; two work and need less space.
const QUIET: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_code_is_small_enough_for_a_terminal() {
        let lines = draw("wormhole-transfer:123-guitarist-revenge").unwrap();
        assert!(lines.len() <= 17, "{} lines", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= 33));
    }

    #[test]
    fn every_line_has_the_same_width_and_the_picture_a_light_border() {
        let lines = draw("wormhole-transfer:4-purple-sausages").unwrap();
        let width = lines.first().unwrap().chars().count();
        assert!(lines.iter().all(|line| line.chars().count() == width));
        assert!(lines.first().unwrap().chars().all(|c| c == '█'));
        let light = ['█', '▀'];
        assert!(lines.iter().all(|line| line.starts_with(light) && line.ends_with(light)));
    }

    #[test]
    fn a_text_that_is_too_long_for_a_qr_code_gives_no_picture() {
        assert_eq!(draw(&"x".repeat(10_000)), None);
    }
}

//! Choices that are the same in every run.

/// Numbers that look random and are the same in every run.
pub(super) struct Dice(u64);

impl Dice {
    /// Dice that begin with `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        // The constants are those of Knuth's MMIX; the high bits are the good ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dice_reach_all_sides() {
        let mut dice = Dice::new(1);
        let mut sides = [0; 8];
        for _ in 0..800 {
            sides[dice.roll(8) as usize] += 1;
        }
        assert!(sides.iter().all(|count| (50..200).contains(count)), "{sides:?}");
    }
}

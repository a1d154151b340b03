//! How the server's seats are divided between levels: by shares first, then by what each could use, within what it may lend
//! and borrow.

use super::demand::Seen;
use super::limits::LEAST_TARGET;

/// What is configured of a level's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Shares of the server's seats.
    pub(super) shares: u64,
    /// Percent of its seats that others may have while it does not use them.
    pub(super) lendable: u64,
    /// Percent of its seats that it may have beside them; `None` for as many as there are.
    pub(super) borrowing: Option<u64>,
    /// Whether it is never held up.
    pub(super) exempt: bool,
}

/// Seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// By its shares.
    pub(super) nominal: u64,
    /// At least.
    pub(super) lower: u64,
    /// At most.
    pub(super) upper: u64,
}

impl Limits {
    /// Of a part of `total` seats, with so many shares in all. Rounded up, so that a level with a share has a seat.
    pub(super) fn of(part: Part, total: u64, all_shares: u64) -> Limits {
        let nominal = (total * part.shares).div_ceil(all_shares.max(1));
        let percent = |percent: u64| (nominal as f64 * percent as f64 / 100.0).round() as u64;
        let beside = part.borrowing.map_or(total, percent);
        Limits { nominal, lower: nominal - percent(part.lendable).min(nominal), upper: nominal + beside }
    }

    /// What it is sure of, by what it wanted of late.
    fn sure(&self, exempt: bool, most: u64) -> u64 {
        if exempt { self.lower.max(most) } else { self.lower.max(self.nominal.min(most)) }
    }
}

/// A level when seats are shifted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// What is configured.
    pub(super) limits: Limits,
    /// Whether it is never held up.
    pub(super) exempt: bool,
    /// Its demand.
    pub(super) seen: Seen,
}

impl Wish {
    fn sure(&self) -> u64 {
        self.limits.sure(self.exempt, self.seen.most)
    }

    /// How many seats it would like.
    pub(super) fn target(&self) -> f64 {
        (self.sure() as f64).max(self.seen.smoothed)
    }
}

/// The seats of each level now, in the order of `wishes`, and the part of its target that each gets that meets no bound.
pub(super) fn shift(wishes: &[Wish]) -> (Vec<u64>, f64) {
    let limited = || wishes.iter().filter(|wish| !wish.exempt);
    let all: u64 = wishes.iter().map(|wish| wish.limits.nominal).sum();
    let taken: u64 = wishes.iter().filter(|wish| wish.exempt).map(Wish::sure).sum();
    let left = all.saturating_sub(taken);
    let (lowest, sure) = limited().fold((0, 0), |(l, s), wish| (l + wish.limits.lower, s + wish.sure()));
    let mut fair = 0.0;
    let seats: Box<dyn Fn(&Wish) -> u64> = if left <= lowest {
        Box::new(|wish| wish.limits.lower)
    } else if left <= sure {
        let part = (left - lowest) as f64 / (sure - lowest) as f64;
        Box::new(move |wish| {
            let lower = wish.limits.lower;
            lower + ((wish.sure() - lower) as f64 * part).round() as u64
        })
    } else {
        let items: Vec<Item> = limited().map(Item::of).collect();
        fair = proportion(all as f64, &items);
        Box::new(move |wish| Item::of(wish).at(fair).round() as u64)
    };
    let now = wishes.iter().map(|wish| if wish.exempt { wish.sure() } else { seats(wish) }).collect();
    (now, fair)
}

/// One of those that a sum is divided between.
#[derive(Clone, Copy, Debug)]
struct Item {
    target: f64,
    lower: f64,
    upper: f64,
}

impl Item {
    fn of(wish: &Wish) -> Item {
        let lower = wish.sure() as f64;
        Item { target: wish.target().max(LEAST_TARGET), lower, upper: (wish.limits.upper as f64).max(lower) }
    }

    fn at(&self, proportion: f64) -> f64 {
        (self.target * proportion).clamp(self.lower, self.upper)
    }
}

/// The part of their targets that makes the items sum to `wanted`, each within its bounds; where that cannot be, the part at
/// which they come closest. The sum is linear between the parts at which an item meets a bound.
fn proportion(wanted: f64, items: &[Item]) -> f64 {
    let sum = |proportion: f64| items.iter().map(|item| item.at(proportion)).sum::<f64>();
    let mut marks: Vec<f64> =
        items.iter().flat_map(|item| [item.lower, item.upper].map(|at| at / item.target)).collect();
    marks.sort_by(f64::total_cmp);
    let mut below = (0.0, sum(0.0));
    for mark in marks {
        let here = (mark, sum(mark));
        if here.1 >= wanted && here.1 > below.1 {
            let part = ((wanted - below.1) / (here.1 - below.1)).max(0.0);
            return below.0 + (here.0 - below.0) * part;
        }
        below = here;
    }
    below.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(shares: u64, lendable: u64) -> Part {
        Part { shares, lendable, borrowing: None, exempt: false }
    }

    /// The default levels of a server of 600 seats, as upstream's documentation lists them.
    #[test]
    fn the_default_levels_have_upstreams_seats() {
        let parts = [(5, 0), (30, 33), (40, 25), (10, 0), (40, 50), (100, 90), (20, 50)];
        let limits: Vec<(u64, u64)> = parts
            .iter()
            .map(|(shares, lendable)| Limits::of(part(*shares, *lendable), 600, 245))
            .map(|limits| (limits.nominal, limits.lower))
            .collect();
        assert_eq!(limits, [(13, 13), (74, 50), (98, 73), (25, 25), (98, 49), (245, 24), (49, 24)]);
        let bounded = Limits::of(Part { borrowing: Some(50), ..part(20, 50) }, 600, 245);
        assert_eq!(bounded.upper, 74);
        assert_eq!(Limits::of(part(0, 0), 600, 0), Limits { nominal: 0, lower: 0, upper: 600 });
    }

    fn wish(nominal: u64, lower: u64, most: u64, smoothed: f64) -> Wish {
        let limits = Limits { nominal, lower, upper: nominal + 100 };
        Wish { limits, exempt: false, seen: Seen { most, smoothed, ..Seen::default() } }
    }

    #[test]
    fn who_wants_more_gets_what_others_do_not_use() {
        // Nobody wants anything: by their lower bounds.
        let (seats, _) = shift(&[wish(50, 10, 0, 0.0), wish(50, 30, 0, 0.0)]);
        assert_eq!(seats.iter().sum::<u64>(), 100);
        // One wants all: the other keeps what it does not lend.
        let (seats, fair) = shift(&[wish(50, 10, 200, 200.0), wish(50, 30, 0, 0.0)]);
        assert_eq!(seats, [70, 30]);
        assert!(fair > 0.0 && fair < 1.0);
        // Both want more than they have: each has its own.
        assert_eq!(shift(&[wish(50, 10, 200, 200.0), wish(50, 30, 200, 200.0)]).0, [50, 50]);
        // What is never held up takes from the others, down to what they do not lend.
        let exempt = Wish { exempt: true, ..wish(0, 0, 30, 30.0) };
        assert_eq!(shift(&[exempt, wish(50, 10, 200, 200.0), wish(50, 30, 200, 200.0)]).0, [30, 30, 40]);
        let exempt = Wish { exempt: true, ..wish(0, 0, 300, 300.0) };
        assert_eq!(shift(&[exempt, wish(50, 10, 200, 200.0), wish(50, 30, 200, 200.0)]).0, [300, 10, 30]);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_seats_are_given_away(
            levels in proptest::collection::vec((1u64..100, 0u64..=100, 0u64..300, 0.0f64..300.0), 1..8),
        ) {
            let wishes: Vec<Wish> = levels
                .into_iter()
                .map(|(nominal, lend, most, smoothed)| wish(nominal, nominal - nominal * lend / 100, most, smoothed))
                .collect();
            let (seats, fair) = shift(&wishes);
            let all: u64 = wishes.iter().map(|wish| wish.limits.nominal).sum();
            for (wish, seats) in wishes.iter().zip(&seats) {
                prop_assert!(*seats >= wish.limits.lower && *seats <= wish.limits.upper);
            }
            let sum: u64 = seats.iter().sum();
            prop_assert!(sum.abs_diff(all) <= wishes.len() as u64, "{sum} of {all}: {seats:?}");
            // Who meets no bound has the same part of his target as the others.
            for (wish, seats) in wishes.iter().zip(&seats) {
                let item = Item::of(wish);
                if fair > 0.0 && *seats as f64 > item.lower + 1.0 && (*seats as f64) < item.upper - 1.0 {
                    prop_assert!((item.target * fair - *seats as f64).abs() <= 1.0);
                }
            }
        }
    }
}

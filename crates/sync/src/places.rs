//! The places of a list, so that one which leads in a circle is noticed.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use crosstie_sdk::{Fault, More};
use serde_json::Value;

/// Where one reading of a window has been.
#[derive(Debug, Default)]
pub(crate) struct Places {
    been: HashSet<u64>,
}

impl Places {
    /// Goes on from one place to the next.
    ///
    /// # Errors
    /// [`Fault::CursorLoop`] when the next is a place where the reading has been.
    pub(crate) fn follow(&mut self, from: Option<&Value>, next: &More) -> Result<(), Fault> {
        self.been.extend(from.map(hash));
        match next {
            More::At(place) if !self.been.insert(hash(place)) => Err(Fault::CursorLoop),
            More::At(_) | More::End => Ok(()),
        }
    }
}

fn hash(place: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    place.to_string().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_that_leads_in_a_circle_of_any_length_is_noticed() {
        for length in [1, 2, 5] {
            let mut places = Places::default();
            let at = |number: i32| json!({ "after": number % length });
            let mut steps = 0;
            while places.follow((steps > 0).then(|| at(steps - 1)).as_ref(), &More::At(at(steps))).is_ok() {
                steps += 1;
            }
            assert_eq!(steps, length);
        }
        assert_eq!(Places::default().follow(None, &More::End), Ok(()));
    }
}

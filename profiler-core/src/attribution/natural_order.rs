//! Text order in which `block[2]` comes before `block[10]`.

use std::cmp::Ordering;

/// Compares texts by characters, and runs of digits by value.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(&a_first), Some(&b_first)) = (a_rest.first(), b_rest.first()) else {
            // Equal but for leading zeros: the plain order decides, so that it is total.
            return a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b));
        };
        let (a_digits, b_digits) = (digits(a_rest), digits(b_rest));
        let order = if a_digits > 0 && b_digits > 0 {
            let (a_number, b_number) =
                (significant(a_rest, a_digits), significant(b_rest, b_digits));
            let order = a_number.len().cmp(&b_number.len());
            order.then_with(|| a_number.cmp(b_number))
        } else {
            a_first.cmp(&b_first)
        };
        if order != Ordering::Equal {
            return order;
        }
        a_rest = a_rest.get(a_digits.max(1)..).unwrap_or(&[]);
        b_rest = b_rest.get(b_digits.max(1)..).unwrap_or(&[]);
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The first `count` digits without leading zeros.
fn significant(text: &[u8], count: usize) -> &[u8] {
    let number = text.get(..count).unwrap_or(&[]);
    let zeros = number.iter().take_while(|byte| **byte == b'0').count();
    number.get(zeros..).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_count() {
        let mut texts = ["b[10].x", "b[2]", "b[10]", "a", "b", "b[02]"];
        texts.sort_by(|a, b| natural_order(a, b));
        assert_eq!(texts, ["a", "b", "b[02]", "b[2]", "b[10]", "b[10].x"]);
    }

    proptest! {
        #[test]
        fn it_is_a_total_order(mut texts in prop::collection::vec("[a0-2é]{0,5}", 3)) {
            texts.sort_by(|a, b| natural_order(a, b));
            for (at, a) in texts.iter().enumerate() {
                for b in &texts[at..] {
                    prop_assert_ne!(natural_order(a, b), Ordering::Greater);
                    prop_assert_eq!(natural_order(b, a), natural_order(a, b).reverse());
                    prop_assert_eq!(natural_order(a, b) == Ordering::Equal, a == b);
                }
            }
        }
    }
}

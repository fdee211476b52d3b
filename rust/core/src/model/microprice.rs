//! Microprice from a Markov chain of book states: the expected mid after all changes to come, given imbalance and spread.
//!
//! G1 = (1 - Q)^-1 R K is the expected first change of the mid, B = (1 - Q)^-1 T where it leaves the state, and the
//! adjustment of a state is the sum of B^i G1. Transition counts must be symmetrised (mirror the imbalance, flip the
//! sign), or the sum drifts without limit.
//!
//! Source: Stoikov, "The micro-price: a high-frequency estimator of future prices" (2018), section 3.

use crate::{Error, Result};

/// A square or rectangular matrix, by rows.
pub type Matrix = Vec<Vec<f64>>;

/// Adjustments to the mid by state.
#[derive(Debug, Clone, PartialEq)]
pub struct Microprice {
    /// Expected first change of the mid, P.
    pub g1: Vec<f64>,
    /// Probability of the state after that change, by the state before it.
    pub b: Matrix,
    /// Adjustment after six changes, P.
    pub g6: Vec<f64>,
    /// Adjustment after all of them, P.
    pub limit: Vec<f64>,
}

const MAX_ROUNDS: usize = 100_000;

/// Adjustments from transition probabilities of n states: `stay` (n x n) without a change of the mid, `jump` (n x m) a
/// change by `moves` (m, P), `land` (n x n) that change into a state; the rows of `stay` and `jump` together sum to 1.
///
/// # Errors
/// [`Error::Domain`] naming the matrix whose shape or rows do not fit, or that has no limit.
pub fn microprice(stay: &[Vec<f64>], jump: &[Vec<f64>], moves: &[f64], land: &[Vec<f64>]) -> Result<Microprice> {
    let n = stay.len();
    check("stay", stay, n, n)?;
    check("jump", jump, n, moves.len())?;
    check("land", land, n, n)?;
    let mut right: Matrix = Vec::with_capacity(n);
    for i in 0..n {
        let rest: f64 = jump[i].iter().sum();
        let row: f64 = stay[i].iter().sum();
        if (row + rest - 1.0).abs() > 1e-6 {
            let reason = format!("row {i} sums to {} with its row of jump, not to 1", row + rest);
            return Err(Error::Domain { name: "stay", reason });
        }
        let change = jump[i].iter().zip(moves).map(|(p, k)| p * k).sum::<f64>();
        right.push(std::iter::once(change).chain(land[i].iter().copied()).collect());
    }
    let left = (0..n).map(|i| (0..n).map(|j| f64::from(i == j) - stay[i][j]).collect()).collect();
    let solved = solve(left, right)?;
    let g1: Vec<f64> = solved.iter().map(|row| row[0]).collect();
    let b: Matrix = solved.into_iter().map(|mut row| row.split_off(1)).collect();
    let (g6, limit) = sums(&g1, &b)?;
    Ok(Microprice { g1, b, g6, limit })
}

fn check(name: &'static str, matrix: &[Vec<f64>], rows: usize, columns: usize) -> Result<()> {
    let fits = rows > 0 && columns > 0 && matrix.len() == rows && matrix.iter().all(|row| row.len() == columns);
    if !fits {
        return Err(Error::Domain { name, reason: format!("must be {rows} rows of {columns}") });
    }
    if matrix.iter().flatten().any(|p| !(0.0..=1.0).contains(p)) {
        return Err(Error::Domain { name, reason: "holds something that is no probability".to_owned() });
    }
    Ok(())
}

/// Sums of B^i G1 over six and over all terms.
fn sums(g1: &[f64], b: &[Vec<f64>]) -> Result<(Vec<f64>, Vec<f64>)> {
    let scale = g1.iter().fold(0.0f64, |most, g| most.max(g.abs()));
    let (mut term, mut sum, mut sixth) = (g1.to_vec(), g1.to_vec(), g1.to_vec());
    for round in 2..=MAX_ROUNDS {
        term = b.iter().map(|row| row.iter().zip(&term).map(|(p, t)| p * t).sum()).collect();
        for (s, t) in sum.iter_mut().zip(&term) {
            *s += t;
        }
        if round == 6 {
            sixth.clone_from(&sum);
        }
        let largest = term.iter().fold(0.0f64, |most, t| most.max(t.abs()));
        // Rounding keeps a mirrored chain from dying out altogether.
        if round >= 6 && largest <= 1e-12 * scale {
            return Ok((sixth, sum));
        }
    }
    let reason = "leads to changes that never die out: symmetrise the counts".to_owned();
    Err(Error::Domain { name: "land", reason })
}

/// Solves left X = right by elimination with row pivoting.
fn solve(mut left: Matrix, mut right: Matrix) -> Result<Matrix> {
    let n = left.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|&a, &b| left[a][column].abs().total_cmp(&left[b][column].abs()));
        let pivot = pivot.unwrap_or(column);
        if left[pivot][column].abs() < 1e-12 {
            let reason = "holds states that are never left: no change of the mid follows".to_owned();
            return Err(Error::Domain { name: "stay", reason });
        }
        left.swap(column, pivot);
        right.swap(column, pivot);
        for row in 0..n {
            if row == column {
                continue;
            }
            let factor = left[row][column] / left[column][column];
            if factor != 0.0 {
                let (top, below) = (left[column].clone(), right[column].clone());
                left[row].iter_mut().zip(&top).for_each(|(x, y)| *x -= factor * y);
                right[row].iter_mut().zip(&below).for_each(|(x, y)| *x -= factor * y);
            }
        }
    }
    for (row, values) in right.iter_mut().enumerate() {
        for x in values {
            *x /= left[row][row];
        }
    }
    Ok(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrored() -> (Matrix, Matrix, Vec<f64>, Matrix) {
        let stay = vec![vec![0.7, 0.2], vec![0.2, 0.7]];
        let jump = vec![vec![0.08, 0.02], vec![0.02, 0.08]];
        let land = vec![vec![0.04, 0.06], vec![0.06, 0.04]];
        (stay, jump, vec![-0.5, 0.5], land)
    }

    #[test]
    fn a_book_that_leans_to_the_bid_is_worth_more_and_the_other_as_much_less() {
        let (stay, jump, moves, land) = mirrored();
        let got = microprice(&stay, &jump, &moves, &land).unwrap();
        assert!(got.limit[1] > 0.0);
        assert!((got.limit[0] + got.limit[1]).abs() < 1e-15);
        for row in &got.b {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{row:?}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let (stay, jump, moves, land) = mirrored();
        let message = |result: Result<Microprice>| result.unwrap_err().to_string();
        assert!(message(microprice(&stay, &jump[..1], &moves, &land)).starts_with("jump: must be 2 rows of 2"));
        let closed = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        let none = vec![vec![0.0, 0.0], vec![0.0, 0.0]];
        assert!(
            message(microprice(&closed, &none, &moves, &land)).starts_with("stay: holds states that are never left")
        );
        assert!(message(microprice(&stay, &none, &moves, &land)).starts_with("stay: row 0 sums to"));
        let drifting = vec![vec![0.02, 0.08], vec![0.02, 0.08]];
        assert!(message(microprice(&stay, &drifting, &moves, &land)).starts_with("land: leads to changes"));
    }
}

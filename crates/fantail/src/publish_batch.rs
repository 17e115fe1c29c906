//! The answer to a batch: a result for each of its events, and one status over all of them.

use fantail_feed::Receipt;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::json_answer::json_answer;
use crate::problem::{Answer, Problem};

/// The results so far, in the order of the events.
#[derive(Default)]
pub(crate) struct BatchResults {
    results: Vec<EventResult>,
    statuses: Vec<StatusCode>,
}

/// The result of one event.
#[derive(Serialize)]
struct EventResult {
    index: usize,
    #[serde(flatten)]
    told: Told,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Accepted {
        status: u16,
        #[serde(flatten)]
        receipt: ReceiptBody,
    },
    /// It has its status among its members.
    Refused(Map<String, Value>),
}

/// A receipt as its publisher gets it.
#[derive(Serialize)]
pub(crate) struct ReceiptBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribers: Option<u64>,
}

impl From<&Receipt> for ReceiptBody {
    fn from(receipt: &Receipt) -> Self {
        Self { id: receipt.id.map(|id| id.to_string()), subscribers: receipt.subscribers }
    }
}

impl BatchResults {
    /// Adds the result of the next event.
    pub(crate) fn push(&mut self, result: Result<Receipt, Problem>) {
        let (status, told) = match result {
            Ok(receipt) => {
                let (status, receipt) = (StatusCode::ACCEPTED, ReceiptBody::from(&receipt));
                (status, Told::Accepted { status: status.as_u16(), receipt })
            }
            Err(problem) => (problem.status, Told::Refused(problem.to_json())),
        };
        self.results.push(EventResult { index: self.results.len(), told });
        self.statuses.push(status);
    }

    /// The answer to the whole batch.
    pub(crate) fn into_answer(self) -> Answer {
        let status = over_all(&self.statuses);
        let mut answer = json_answer(status, &self.results);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// The status for a publisher that looks at nothing else: all events are accepted, some of them, or none.
fn over_all(statuses: &[StatusCode]) -> StatusCode {
    let accepted = statuses.iter().filter(|status| status.is_success()).count();
    let refused = || statuses.iter().filter(|status| !status.is_success());
    match refused().next() {
        None => StatusCode::ACCEPTED,
        Some(_) if accepted > 0 => StatusCode::MULTI_STATUS,
        Some(first) if refused().all(|status| status == first) => *first,
        // Some events are worth another try.
        Some(_) if refused().any(|status| is_worth_another_try(*status)) => StatusCode::SERVICE_UNAVAILABLE,
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn is_worth_another_try(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_batch_says_whether_all_some_or_nothing_was_accepted() {
        for (statuses, expected) in [
            (&[][..], 202),
            (&[202, 202], 202),
            (&[202, 400], 207),
            (&[503, 202], 207),
            (&[400, 400], 400),
            (&[413], 413),
            (&[400, 413], 422),
            (&[503, 503], 503),
            (&[400, 503], 503),
            (&[429, 429], 429),
            (&[202, 429], 207),
            (&[400, 429], 503),
        ] {
            let statuses: Vec<_> = statuses.iter().map(|code| StatusCode::from_u16(*code).expect("a status")).collect();
            assert_eq!(over_all(&statuses).as_u16(), expected, "{statuses:?}");
        }
    }
}

//! Which part of a list is asked for, and the headers that lead to the others.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::Problem;
use crate::model::Window;

const MAX_SKIP: i64 = 1_000_000;
const DEFAULT_LIMIT: i64 = 20;

pub(super) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// Paging of a list: `skip` and `limit`, or `page` and `page_size`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParams {
    /// How many items to leave out at the beginning.
    #[param(minimum = 0, maximum = 1_000_000, default = 0)]
    pub(super) skip: Option<i64>,
    /// How many items to answer at most.
    #[param(minimum = 1, maximum = 100, default = 20)]
    pub(super) limit: Option<i64>,
    /// The page, from 1 on; not together with `skip`.
    #[param(minimum = 1, maximum = 1_000_001)]
    pub(super) page: Option<i64>,
    /// The same as `limit`, for clients that count pages.
    #[param(minimum = 1, maximum = 100)]
    pub(super) page_size: Option<i64>,
}

impl PageParams {
    /// Pages become skips here, before any key is built: two spellings of one page share an entry.
    pub(super) fn window(&self) -> Result<Window, Problem> {
        if self.skip.is_some() && self.page.is_some() {
            return Err(Problem::unprocessable("page", "cannot be combined with skip"));
        }
        if self.limit.is_some() && self.page_size.is_some() {
            let message = "cannot be combined with limit";
            return Err(Problem::unprocessable("page_size", message));
        }
        let size = if self.page_size.is_some() { "page_size" } else { "limit" };
        let limit = self.limit.or(self.page_size).unwrap_or(DEFAULT_LIMIT);
        within(size, limit, 1, 100)?;
        let skip = match self.page {
            Some(page) => {
                within("page", page, 1, MAX_SKIP + 1)?;
                let skip = (page - 1) * limit;
                within("page", skip, 0, MAX_SKIP)?;
                skip
            }
            None => self.skip.unwrap_or(0),
        };
        within("skip", skip, 0, MAX_SKIP)?;
        Ok(Window { skip, limit })
    }
}

fn within(field: &str, value: i64, min: i64, max: i64) -> Result<(), Problem> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        let message = format!("must be between {min} and {max}");
        Err(Problem::unprocessable(field, message))
    }
}

/// A page that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    window: Window,
    /// Where the next one begins.
    end: i64,
    total: i64,
}

impl Page {
    pub(super) fn of(window: Window, total: i64) -> Self {
        Self { window, end: window.skip + window.limit, total }
    }

    /// The same of a list whose pages may end early, where the next one begins.
    pub(super) fn ending(window: Window, count: i64, total: i64) -> Self {
        let end = if count == 0 { window.limit } else { count };
        Self { window, end: window.skip + end, total }
    }
}

/// `X-Total-Count` and `Link`: first, prev, next, last, with the other parameters kept.
pub(super) fn page_headers(
    headers: &mut HeaderMap,
    path: &str,
    query: Option<&str>,
    Page { window, end, total }: Page,
) {
    headers.insert(TOTAL_COUNT, HeaderValue::from(total));
    let paging = ["skip", "limit", "page", "page_size"];
    let is_paging = |part: &&str| {
        let name = part.split('=').next().unwrap_or("");
        part.is_empty() || paging.contains(&name)
    };
    let others = query.unwrap_or("").split('&').filter(|part| !is_paging(part));
    let others: String = others.map(|part| format!("&{}", quoted(part))).collect();
    let Window { skip, limit } = window;
    let last = (total - 1).max(0) / limit * limit;
    let link =
        |skip: i64, rel: &str| format!("<{path}?skip={skip}&limit={limit}{others}>; rel=\"{rel}\"");
    let mut links = vec![link(0, "first")];
    if skip > 0 {
        links.push(link((skip - limit).max(0), "prev"));
    }
    if end < total {
        links.push(link(end, "next"));
    }
    links.push(link(last, "last"));
    if let Ok(value) = HeaderValue::try_from(links.join(", ")) {
        headers.insert(header::LINK, value);
    }
}

/// Keeps what the client wrote from ending the link it is put into.
fn quoted(part: &str) -> String {
    part.replace('<', "%3C").replace('>', "%3E").replace('"', "%22")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::{Page, PageParams, page_headers};
    use crate::model::Window;

    #[test]
    fn a_page_number_becomes_a_skip() {
        let params = PageParams { page: Some(3), page_size: Some(12), ..PageParams::default() };
        assert_eq!(params.window().ok(), Some(Window { skip: 24, limit: 12 }));
    }

    #[test]
    fn what_is_out_of_range_or_said_twice_is_refused() {
        let none = PageParams::default;
        for params in [
            PageParams { skip: Some(-1), ..none() },
            PageParams { limit: Some(0), ..none() },
            PageParams { limit: Some(101), ..none() },
            PageParams { skip: Some(0), page: Some(1), ..none() },
            PageParams { limit: Some(100), page: Some(20_000), ..none() },
            PageParams { page: Some(i64::MAX), ..none() },
        ] {
            assert!(params.window().is_err(), "{params:?}");
        }
    }

    #[test]
    fn links_keep_the_filters_and_lead_to_the_neighbours() {
        let mut headers = HeaderMap::new();
        let window = Window { skip: 20, limit: 20 };
        page_headers(&mut headers, "/courses", Some("page=2&q=a"), Page::of(window, 45));
        let link = headers["link"].to_str().unwrap();
        assert!(link.contains("</courses?skip=0&limit=20&q=a>; rel=\"prev\""));
        assert!(link.contains("</courses?skip=40&limit=20&q=a>; rel=\"next\""));
        assert!(link.contains("</courses?skip=40&limit=20&q=a>; rel=\"last\""));
    }

    #[test]
    fn a_page_that_ended_early_is_followed_by_what_it_left_out() {
        let mut headers = HeaderMap::new();
        let page = Page::ending(Window { skip: 20, limit: 20 }, 7, 45);
        page_headers(&mut headers, "/articles", Some("page=2"), page);
        let link = headers["link"].to_str().unwrap();
        assert!(link.contains("</articles?skip=27&limit=20>; rel=\"next\""), "{link}");
    }
}

//! The cached values: rendered JSON plus the facts that access decisions and headers need.
//!
//! Their shapes are stored in Redis: whoever changes one raises the `VERSION` of its key.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore};
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{self, CourseStatus, Role};
use crate::store::{Error, Result};
use crate::wire;

/// Smaller bodies fit in a packet or two anyway.
const PACK_FROM: usize = 1024;

/// What is larger takes long enough to pack that a thread of its own does it: others wait for
/// the runtime's.
const PACK_ASIDE_FROM: usize = 64 << 10;

/// Packed aside at a time: a crowd must not take every core.
static PACKERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));

/// What a page of a list may hold, in bytes: with its packed form it still fits into an entry of
/// the default size (`CACHE_MAX_ENTRY_KB`).
pub(super) const MOST_OF_A_PAGE: usize = 640 << 10;

/// A rendered answer and the hash its entity tag is made of, computed once. What answers
/// need beyond that is made for the first of them, and kept beside it in this process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Body {
    pub bytes: Bytes,
    pub hash: u64,
    #[serde(skip)]
    tags: OnceLock<Tags>,
    #[serde(skip)]
    packed: OnceCell<Bytes>,
}

/// The entity tags of a body: each encoding has its own.
#[derive(Debug, Clone)]
struct Tags {
    plain: Bytes,
    packed: Bytes,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
}

impl Body {
    pub fn render(value: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(value).map_err(|e| Error::corrupt(e.to_string()))?;
        Ok(Self::of(json.into()))
    }

    pub fn of(bytes: Bytes) -> Self {
        let hash = xxh3_64(&bytes);
        Self::known(bytes, hash)
    }

    fn known(bytes: Bytes, hash: u64) -> Self {
        Self { bytes, hash, tags: OnceLock::new(), packed: OnceCell::new() }
    }

    /// How it is sent to a client that takes gzip or does not.
    pub fn encoding(&self, accepts_gzip: bool) -> Encoding {
        if accepts_gzip && self.bytes.len() >= PACK_FROM {
            Encoding::Gzip
        } else {
            Encoding::Identity
        }
    }

    /// Of those who ask at once, one packs it.
    pub async fn encoded(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Identity => &self.bytes,
            Encoding::Gzip => self.packed.get_or_init(|| self.pack()).await,
        }
    }

    async fn pack(&self) -> Bytes {
        if self.bytes.len() < PACK_ASIDE_FROM {
            return packed(&self.bytes);
        }
        // The permit moves into the work: a client that goes away frees no thread that is busy.
        let permit = Arc::clone(&PACKERS).acquire_owned().await;
        let bytes = self.bytes.clone();
        let aside = tokio::task::spawn_blocking(move || {
            let bytes = packed(&bytes);
            drop(permit);
            bytes
        });
        // It ends without a result only together with the runtime.
        aside.await.unwrap_or_else(|_| packed(&self.bytes))
    }

    /// `"{version}-{hash}"`, or `"{hash}"` for what has no version. The version belongs
    /// to the body: whoever asks gives the same one every time.
    pub fn tag(&self, version: Option<i64>, encoding: Encoding) -> &Bytes {
        let tags = self.tags.get_or_init(|| Tags::new(version, self.hash));
        match encoding {
            Encoding::Identity => &tags.plain,
            Encoding::Gzip => &tags.packed,
        }
    }

    /// The bytes it takes, with what is made later. JSON packs to less than a half.
    pub(super) fn weight(&self) -> usize {
        let tags = 128;
        let packed = if self.bytes.len() < PACK_FROM { 0 } else { self.bytes.len() / 2 };
        self.bytes.len() + tags + packed
    }
}

impl Tags {
    fn new(version: Option<i64>, hash: u64) -> Self {
        let tag = |encoding: &str| match version {
            Some(version) => format!("\"{version}-{hash:016x}{encoding}\"").into(),
            None => format!("\"{hash:016x}{encoding}\"").into(),
        };
        Self { plain: tag(""), packed: tag("-gzip") }
    }
}

/// Fast rather than small: the first client waits for it.
fn packed(bytes: &Bytes) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    #[expect(clippy::expect_used, reason = "writing to a vector cannot fail")]
    let packed = gzip
        .write_all(bytes)
        .and_then(|()| gzip.finish())
        .expect("writing to a vector cannot fail");
    Bytes::from(packed)
}

/// A course. Unpublished ones keep an empty body here: their few viewers read the database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CourseAnswer {
    pub body: Body,
    pub version: i64,
    pub status: CourseStatus,
    pub instructor_id: i64,
}

impl CourseAnswer {
    pub fn public(course: &model::Course) -> Result<Self> {
        let mut answer = Self::full(course)?;
        if course.status != CourseStatus::Published {
            answer.body = Body::of(Bytes::new());
        }
        Ok(answer)
    }

    pub fn full(course: &model::Course) -> Result<Self> {
        Ok(Self {
            body: Body::render(&wire::Course::from(course))?,
            version: course.version,
            status: course.status,
            instructor_id: course.instructor.id,
        })
    }

    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.body.weight()
    }
}

/// An article. Unpublished ones keep an empty body here, like courses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArticleAnswer {
    pub body: Body,
    pub version: i64,
    pub published: bool,
    pub author_id: Option<i64>,
}

impl ArticleAnswer {
    pub fn public(article: &model::Article) -> Result<Self> {
        let mut answer = Self::full(article)?;
        if !article.published {
            answer.body = Body::of(Bytes::new());
        }
        Ok(answer)
    }

    pub fn full(article: &model::Article) -> Result<Self> {
        Ok(Self {
            body: Body::render(&wire::Article::from(article))?,
            version: article.version,
            published: article.published,
            author_id: article.author_id(),
        })
    }

    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.body.weight()
    }
}

/// A page of a list, how many items it has, and how many there are in all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListAnswer {
    pub body: Body,
    pub count: i64,
    pub total: i64,
}

/// Leaves to the next page what would make this one too heavy to be kept. One item always stays.
pub(super) fn fitting<T: Serialize>(mut items: Vec<T>) -> Result<Vec<T>> {
    let mut weight = Weight(0);
    let mut fit = 0;
    for item in &items {
        serde_json::to_writer(&mut weight, item).map_err(|e| Error::corrupt(e.to_string()))?;
        if weight.0 > MOST_OF_A_PAGE {
            break;
        }
        fit += 1;
    }
    items.truncate(fit.max(1));
    Ok(items)
}

/// Counts what is written to it.
struct Weight(usize);

impl Write for Weight {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ListAnswer {
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.body.weight()
    }
}

/// An answer without facts beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlainAnswer {
    pub body: Body,
}

impl PlainAnswer {
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.body.weight()
    }
}

/// A public profile; the role decides who may see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProfileAnswer {
    pub body: Body,
    pub version: i64,
    pub role: Role,
}

impl ProfileAnswer {
    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.body.weight()
    }
}

/// A whole document; single lessons are slices of its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContentAnswer {
    pub body: Body,
    pub version: i64,
    pub lessons: Vec<LessonSlice>,
}

/// Where a lesson's JSON lies in the document's bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LessonSlice {
    pub id: i64,
    pub start: usize,
    pub end: usize,
    pub hash: u64,
    /// Made when it is first asked for; its bytes are the document's.
    #[serde(skip)]
    body: OnceLock<Body>,
}

impl ContentAnswer {
    pub fn render(course_id: i64, content: &model::Content, version: i64) -> Result<Self> {
        let document = wire::Content::new(course_id, content, version);
        let body = Body::render(&document)?;
        let mut lessons = Vec::new();
        // Lessons appear in the document in this order, so each is found after the one before.
        let mut from = 0;
        for lesson in document.modules.iter().flat_map(|module| &module.lessons) {
            let json = serde_json::to_vec(lesson).map_err(|e| Error::corrupt(e.to_string()))?;
            let start = position(&body.bytes[from..], &json)
                .ok_or_else(|| Error::corrupt("a lesson is missing from its document"))?;
            let (start, end) = (from + start, from + start + json.len());
            from = end;
            let (id, hash) = (lesson.id, xxh3_64(&json));
            lessons.push(LessonSlice { id, start, end, hash, body: OnceLock::new() });
        }
        Ok(Self { body, version, lessons })
    }

    /// Lessons share the document's bytes; packed ones together take as much as the document does.
    pub(super) fn weight(&self) -> usize {
        let lesson = |slice: &LessonSlice| {
            let packed = self.body.bytes.len().min(slice.end.saturating_sub(slice.start)) / 2;
            size_of::<LessonSlice>() + 128 + packed
        };
        let lessons: usize = self.lessons.iter().map(lesson).sum();
        size_of::<Self>() + self.body.weight() + lessons
    }

    /// One lesson, cut from the document without copying it.
    pub fn lesson(&self, id: i64) -> Option<&Body> {
        let slice = self.lessons.iter().find(|lesson| lesson.id == id)?;
        let in_bounds = slice.start <= slice.end && slice.end <= self.body.bytes.len();
        in_bounds.then(|| {
            let bytes = || self.body.bytes.slice(slice.start..slice.end);
            slice.body.get_or_init(|| Body::known(bytes(), slice.hash))
        })
    }
}

/// Each lesson begins with `{"id":<its id>,`, which is rare enough that few comparisons go far.
fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let starts = haystack.iter().enumerate().filter(|(_, b)| **b == b'{');
    starts.map(|(at, _)| at).find(|&at| haystack[at..].starts_with(needle))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::{Body, ContentAnswer, Encoding, PACK_ASIDE_FROM, fitting};
    use crate::model::{Content, LessonDraft, ModuleDraft};

    #[test]
    fn a_large_body_is_packed_beside_the_threads_that_answer() {
        let one = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        one.unwrap().block_on(async {
            let (end, until_then) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || until_then.recv());
            let large = Body::of(Bytes::from(vec![b'a'; PACK_ASIDE_FROM]));
            assert!(large.encoded(Encoding::Gzip).now_or_never().is_none(), "it waits its turn");
            let small = Body::of(Bytes::from(vec![b'a'; PACK_ASIDE_FROM - 1]));
            assert!(small.encoded(Encoding::Gzip).now_or_never().is_some());
            drop(end);
            let _ = busy.await;
            let packed = large.encoded(Encoding::Gzip).await.clone();
            assert_eq!(large.encoded(Encoding::Gzip).now_or_never(), Some(&packed), "kept");
        });
    }

    #[test]
    fn a_page_holds_what_can_be_kept_and_at_least_one_item() {
        let items = |count, length| vec!["x".repeat(length); count];
        assert_eq!(fitting(items(100, 1_000)).unwrap().len(), 100);
        assert_eq!(fitting(items(100, 10_000)).unwrap().len(), 65);
        assert_eq!(fitting(items(100, 1_000_000)).unwrap().len(), 1);
        assert_eq!(fitting(items(0, 0)).unwrap().len(), 0);
    }

    #[tokio::test]
    async fn a_body_is_compressed_and_tagged_once_for_all_answers() {
        let body = Body::of(Bytes::from(vec![b'a'; 5000]));
        let encoding = body.encoding(true);
        assert_eq!(encoding, Encoding::Gzip);
        let first = body.encoded(encoding).await.as_ptr();
        assert_eq!(body.encoded(encoding).await.as_ptr(), first);
        let tag = body.tag(Some(3), Encoding::Identity);
        assert_eq!(tag, format!("\"3-{:016x}\"", body.hash).as_bytes());
        assert_ne!(tag, body.tag(Some(3), Encoding::Gzip));
        assert_eq!(Body::of(Bytes::from_static(b"{}")).encoding(true), Encoding::Identity);
    }

    #[tokio::test]
    async fn what_is_kept_for_answers_is_neither_stored_in_redis_nor_forgotten_in_the_charge() {
        let body = Body::of(Bytes::from(vec![b'a'; 5000]));
        let stored = serde_json::to_string(&body).unwrap();
        let before = body.weight();
        body.encoded(Encoding::Gzip).await;
        body.tag(None, Encoding::Gzip);
        assert_eq!(serde_json::to_string(&body).unwrap(), stored);
        assert_eq!(body.weight(), before);
        assert!(before >= 5000 + body.encoded(Encoding::Gzip).await.len());
    }

    #[test]
    fn a_lesson_is_the_slice_of_the_document_that_holds_it() {
        let lesson = |title: &str, body: &str| LessonDraft {
            id: None,
            title: title.to_owned(),
            kind: "text".to_owned(),
            duration_minutes: 0,
            body: body.to_owned(),
            external_id: None,
        };
        let alike = || lesson("A {\"id\":2}", "x");
        let mut content = Content::default();
        for lessons in [vec![alike(), lesson("B", "")], vec![alike()]] {
            let title = "A module".to_owned();
            let draft = ModuleDraft { id: None, title, position: None, lessons, external_id: None };
            content.add_module(draft).unwrap();
        }
        let answer = ContentAnswer::render(1, &content, 1).unwrap();
        for module in &content.modules {
            for lesson in &module.lessons {
                let expected = serde_json::to_vec(&crate::wire::Lesson::from(lesson)).unwrap();
                assert_eq!(answer.lesson(lesson.id).unwrap().bytes, expected);
            }
        }
        assert!(answer.lesson(9_999).is_none());
    }
}

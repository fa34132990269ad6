//! The cached values: rendered JSON plus the facts that access decisions and headers need.
//!
//! Their shapes are stored in Redis: whoever changes one raises the `VERSION` of its key.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{self, CourseStatus, Role};
use crate::store::{Error, Result};
use crate::wire;

/// A rendered answer and the hash its entity tag is made of, computed once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Body {
    pub bytes: Bytes,
    pub hash: u64,
}

impl Body {
    pub fn render(value: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(value).map_err(|e| Error::corrupt(e.to_string()))?;
        Ok(Self::of(json.into()))
    }

    pub fn of(bytes: Bytes) -> Self {
        let hash = xxh3_64(&bytes);
        Self { bytes, hash }
    }
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
}

/// A page of a list and how many items there are in all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListAnswer {
    pub body: Body,
    pub total: i64,
}

/// An answer without facts beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlainAnswer {
    pub body: Body,
}

/// A public profile; the role decides who may see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProfileAnswer {
    pub body: Body,
    pub version: i64,
    pub role: Role,
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
            lessons.push(LessonSlice { id: lesson.id, start, end, hash: xxh3_64(&json) });
        }
        Ok(Self { body, version, lessons })
    }

    /// One lesson, cut from the document without copying it.
    pub fn lesson(&self, id: i64) -> Option<Body> {
        let slice = self.lessons.iter().find(|lesson| lesson.id == id)?;
        let in_bounds = slice.start <= slice.end && slice.end <= self.body.bytes.len();
        in_bounds.then(|| Body {
            bytes: self.body.bytes.slice(slice.start..slice.end),
            hash: slice.hash,
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
    use super::ContentAnswer;
    use crate::model::{Content, ContentDraft};

    #[test]
    fn a_lesson_is_the_slice_of_the_document_that_holds_it() {
        let draft: ContentDraft = serde_json::from_str(
            r#"{"modules":[
                {"title":"One","lessons":[{"title":"A {\"id\":2}","body":"x"},{"title":"B"}]},
                {"title":"Two","lessons":[{"title":"A {\"id\":2}","body":"x"}]}]}"#,
        )
        .unwrap();
        let mut content = Content::default();
        content.replace(draft).unwrap();
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

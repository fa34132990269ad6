//! The nouns of the product and the rules that need nothing but themselves.
//!
//! A leaf: nothing here imports another part of Campus, so every rule can be
//! read and tested without a database, a cache or a web server.

mod article;
mod certificate;
mod content;
mod course;
mod enrollment;
mod event;
mod field;
mod figures;
mod import;
mod money;
mod refusal;
mod rule;
mod student;
mod time;
mod user;

pub use article::{
    Article, ArticleDraft, ArticleEdit, Author, MOST_TAGS, may_edit_article, tag_name,
};
pub use certificate::{Certificate, CertificateCode};
pub use content::{
    Content, ContentDraft, Lesson, LessonDraft, MAX_CONTENT_BYTES, MAX_CONTENT_ID, Metadata,
    Module, ModuleDraft, Outline,
};
pub use course::{
    Course, CourseDraft, CourseEdit, CourseFilter, CourseSort, CourseStatus, InstructorRef, Level,
    Rating, rating_score, slugify,
};
pub use enrollment::{
    Enrollment, EnrollmentDetail, EnrollmentDraft, EnrollmentStatus, Learner, Place, RosterEntry,
    Visit, percent,
};
pub use event::{Event, EventKind, Happened, Topic};
pub use field::{FieldError, Fields, Patch, Window};
pub use figures::{
    CourseFigures, LessonFigures, PlaceGroup, PlatformFigures, RoleCounts, StatusCounts, TopCourse,
    Totals, Windows, quotient,
};
pub use import::{
    ArticleImport, Catalogue, CompletionImport, CourseImport, EnrollmentImport, LessonImport,
    ModuleImport, Origin, PersonImport, RatingImport,
};
pub use money::Money;
pub use refusal::Refusal;
pub use rule::{CacheRule, CacheRuleEdit, LoggedAction};
pub use student::{Pace, Risk, StudentCourse, StudentFigures};
pub use time::Timestamp;
pub use user::{InstructorProfile, NewUser, Principal, ProfileEdit, Role, User};

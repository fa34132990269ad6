//! Bulk upsert of imported rows: everything in one transaction, or nothing.
//!
//! Rows are found again by `(source, external_id)`; a digest of what was imported
//! last tells an unchanged row without comparing every column. Ids stay, and so do
//! the ids of modules and lessons, because completions refer to them.

mod articles;
mod completions;
mod courses;
mod members;
mod people;

use std::collections::{HashMap, HashSet};

use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};
use serde::Serialize;

use super::tables;
use super::{ContentStore, Error, Result, Store, Tx};
use crate::model::{Catalogue, Timestamp};

/// What became of the rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub inserted: usize,
    pub updated: usize,
    pub unchanged: usize,
}

/// What an import did.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    pub people: Counts,
    pub courses: Counts,
    pub articles: Counts,
    pub enrollments: Counts,
    pub ratings: Counts,
    /// Modules and lessons of the imported courses.
    pub modules: usize,
    pub lessons: usize,
    /// Rows whose cached reads may be old now.
    pub user_ids: Vec<i64>,
    /// Whose places in courses, and progress there, may be other ones.
    pub student_ids: Vec<i64>,
    pub course_ids: Vec<i64>,
    pub article_ids: Vec<i64>,
}

/// The rows of one source, by their external ids.
type Ids = HashMap<String, i64>;

/// One running import.
struct Import<'a> {
    tx: &'a DatabaseTransaction,
    documents: &'a ContentStore,
    catalogue: &'a Catalogue,
    now: Timestamp,
    done: usize,
    progress: &'a mut (dyn FnMut(usize) + Send),
    report: Imported,
    deleted: Deleted,
}

/// What was deleted here since it was imported. An import changes nothing of it.
#[derive(Default)]
struct Deleted {
    people: HashSet<i64>,
    courses: HashSet<i64>,
}

impl Tx {
    /// Applies catalogues, with one report for each; `progress` hears how many of all
    /// [`Catalogue::rows`] are done.
    ///
    /// # Errors
    /// A row that refers to a person or course its catalogue does not have
    /// ([`Error::is_import`]) or a database failure; in both cases nothing may be kept.
    pub async fn import(
        &self,
        catalogues: &[&Catalogue],
        now: Timestamp,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Vec<Imported>> {
        let mut reports = Vec::with_capacity(catalogues.len());
        let mut done = 0;
        for catalogue in catalogues {
            let mut import = Import {
                tx: &self.0,
                documents: &self.1,
                catalogue,
                now,
                done,
                progress: &mut *progress,
                report: Imported::default(),
                deleted: Deleted::default(),
            };
            let people = import.people().await?;
            let courses = import.courses(&people).await?;
            import.articles(&people).await?;
            import.members(&people, &courses).await?;
            done = import.done;
            reports.push(import.report);
        }
        Ok(reports)
    }
}

/// The rows of a source, by their ids there.
#[derive(Debug)]
pub struct ImportedIds {
    pub people: HashMap<String, i64>,
    pub courses: HashMap<String, i64>,
}

impl Store {
    /// Whom and what imports of a source have brought.
    pub async fn imported_ids(&self, source: &str) -> Result<ImportedIds> {
        let people: Vec<(Option<String>, i64)> = tables::users::Entity::find()
            .select_only()
            .columns([tables::users::Column::ExternalId, tables::users::Column::Id])
            .filter(tables::users::Column::Source.eq(source))
            .into_tuple()
            .all(&self.reader)
            .await?;
        let courses: Vec<(Option<String>, i64)> = tables::courses::Entity::find()
            .select_only()
            .columns([tables::courses::Column::ExternalId, tables::courses::Column::Id])
            .filter(tables::courses::Column::Source.eq(source))
            .into_tuple()
            .all(&self.reader)
            .await?;
        let by_name = |rows: Vec<(Option<String>, i64)>| {
            rows.into_iter().filter_map(|(name, id)| Some((name?, id))).collect()
        };
        Ok(ImportedIds { people: by_name(people), courses: by_name(courses) })
    }
}

impl Imported {
    /// Whether it found anything to insert or to update.
    pub fn has_changes(&self) -> bool {
        let kinds = [self.people, self.courses, self.articles, self.enrollments, self.ratings];
        kinds.iter().any(|counts| counts.inserted + counts.updated > 0)
    }
}

impl Import<'_> {
    fn step(&mut self) {
        self.done += 1;
        (self.progress)(self.done);
    }
}

impl Deleted {
    fn has(&self, person: i64, course: i64) -> bool {
        self.people.contains(&person) || self.courses.contains(&course)
    }
}

impl Imported {
    /// Takes over what the next step of the same import did.
    pub fn append(&mut self, next: Self) {
        self.people.append(next.people);
        self.courses.append(next.courses);
        self.articles.append(next.articles);
        self.enrollments.append(next.enrollments);
        self.ratings.append(next.ratings);
        self.modules += next.modules;
        self.lessons += next.lessons;
        self.user_ids.extend(next.user_ids);
        self.student_ids.extend(next.student_ids);
        self.course_ids.extend(next.course_ids);
        self.article_ids.extend(next.article_ids);
    }
}

impl Counts {
    fn append(&mut self, next: Self) {
        self.inserted += next.inserted;
        self.updated += next.updated;
        self.unchanged += next.unchanged;
    }

    fn count(&mut self, change: Change) {
        match change {
            Change::Inserted => self.inserted += 1,
            Change::Updated => self.updated += 1,
            Change::Unchanged => self.unchanged += 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Inserted,
    Updated,
    Unchanged,
}

/// Fingerprint of an imported row, to tell an unchanged one on the next import.
fn digest(row: &impl Serialize) -> Result<String> {
    let bytes = serde_json::to_vec(row).map_err(|e| Error::import(e.to_string()))?;
    Ok(blake3::hash(&bytes).to_hex()[..32].to_owned())
}

fn look_up(ids: &Ids, external_id: &str, what: &str, for_row: &str) -> Result<i64> {
    ids.get(external_id).copied().ok_or_else(|| {
        Error::import(format!(
            "{for_row} refers to the {what} '{external_id}', which is not in this import"
        ))
    })
}

/// The first of `wish`, `wish-2`, `wish-3` .. for which `taken` says no.
async fn free_name<F, Fut>(wish: &str, taken: F) -> Result<String>
where
    F: Fn(String) -> Fut,
    Fut: Future<Output = Result<bool>>,
{
    let mut name = wish.to_owned();
    let mut suffix = 2;
    while taken(name.clone()).await? {
        name = format!("{wish}-{suffix}");
        suffix += 1;
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use sea_orm::{EntityTrait, QueryOrder};
    use tempfile::TempDir;

    use super::{Counts, Imported};
    use crate::import::synthetic::{Size, make};
    use crate::model::{
        ArticleImport, Catalogue, CourseImport, CourseStatus, EnrollmentImport, EnrollmentStatus,
        Level, Money, Origin, PersonImport, Rating, RatingImport, Role, Timestamp, Window,
        rating_score,
    };
    use crate::store::Store;
    use crate::store::tables::{courses, lesson_completions, users};

    const UNCHANGED: Counts = Counts { inserted: 0, updated: 0, unchanged: 1 };

    async fn store(folder: &TempDir) -> Store {
        let url = format!("sqlite://{}", folder.path().join("campus.db").display());
        let store = Store::connect(&url).await.unwrap();
        store.migrate().await.unwrap();
        store
    }

    fn origin(external_id: &str) -> Origin {
        let (source, external_id) = ("test".to_owned(), external_id.to_owned());
        Origin { source, external_id, attribution: None }
    }

    /// Nina teaches knots and has a place in it.
    fn catalogue(name: &str, title: &str, stars: i16) -> Catalogue {
        let nina = || "nina".to_owned();
        let knots = || "knots".to_owned();
        let person = PersonImport {
            origin: origin("nina"),
            username: nina(),
            full_name: name.to_owned(),
            role: Role::Instructor,
            headline: Some(name.to_owned()),
            bio: None,
            expertise: Vec::new(),
        };
        let course = CourseImport {
            origin: origin("knots"),
            slug: knots(),
            title: title.to_owned(),
            description: String::new(),
            category: "Sailing".to_owned(),
            level: Level::Beginner,
            price: Money::default(),
            max_students: None,
            status: CourseStatus::Published,
            published_at: None,
            tags: Vec::new(),
            instructor: nina(),
            modules: Vec::new(),
        };
        let enrollment = EnrollmentImport {
            student: nina(),
            course: knots(),
            status: EnrollmentStatus::Active,
            enrolled_at: Timestamp(0),
            last_accessed_at: Timestamp(0),
            completions: Vec::new(),
            time_spent_minutes: 0,
        };
        Catalogue {
            source: "test".to_owned(),
            people: vec![person],
            courses: vec![course],
            articles: Vec::new(),
            enrollments: vec![enrollment],
            ratings: vec![RatingImport { student: nina(), course: knots(), stars }],
        }
    }

    async fn import(store: &Store, catalogue: &Catalogue) -> Imported {
        let tx = store.begin().await.unwrap();
        let imported = tx.import(&[catalogue], Timestamp(0), &mut |_| {}).await.unwrap().remove(0);
        tx.commit().await.unwrap();
        imported
    }

    #[tokio::test]
    async fn an_import_brings_nothing_back_that_was_deleted_here() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        let first = import(&store, &catalogue("Nina", "Knots", 5)).await;
        let (person, course) = (first.user_ids[0], first.course_ids[0]);
        let tx = store.begin().await.unwrap();
        assert_eq!(tx.end_enrollments(person, Timestamp(1)).await.unwrap().course_ids, [course]);
        tx.blank_user(person, Timestamp(1)).await.unwrap();
        let row = tx.course(course).await.unwrap().unwrap();
        assert_eq!((row.enrolled_count, row.instructor.full_name.as_str()), (0, "Deleted user"));
        tx.delete_course(&row, Timestamp(1)).await.unwrap();
        tx.commit().await.unwrap();

        let again = import(&store, &catalogue("Nina Again", "Better Knots", 1)).await;
        let counts = [again.people, again.courses, again.enrollments, again.ratings];
        assert_eq!(counts, [UNCHANGED; 4]);
        assert!(store.user(person).await.unwrap().is_none());
        assert!(!store.is_enrolled(person, course).await.unwrap());
        let row = courses::Entity::find_by_id(course).one(&store.reader).await.unwrap().unwrap();
        assert_eq!((row.title.as_str(), row.rating_sum), ("Knots", 5));
    }

    #[tokio::test]
    async fn an_import_completes_enrollments_without_certificates() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        let mut catalogue = catalogue("Nina", "Knots", 5);
        catalogue.enrollments[0].status = EnrollmentStatus::Completed;
        let person = import(&store, &catalogue).await.user_ids[0];
        let all = Window { skip: 0, limit: 9 };
        let (enrollments, total) = store.enrollments_of(person, all).await.unwrap();
        assert_eq!((enrollments[0].status, total), (EnrollmentStatus::Completed, 1));
        assert!(enrollments[0].completed_at.is_some());
        assert_eq!(store.certificates_of(person, all).await.unwrap().1, 0);
        assert_eq!(import(&store, &catalogue).await.enrollments, UNCHANGED);
    }

    fn with_articles(name: &str, title: &str) -> Catalogue {
        let article = |id: &str| ArticleImport {
            origin: origin(id),
            slug: id.to_owned(),
            title: title.to_owned(),
            body: String::new(),
            author: Some("nina".to_owned()),
            tags: vec!["rope".to_owned()],
            published: true,
            created_at: None,
        };
        let articles = vec![article("kept"), article("hidden"), article("gone")];
        Catalogue { articles, ..catalogue(name, "Knots", 5) }
    }

    #[tokio::test]
    async fn an_import_neither_publishes_nor_brings_back_an_article() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        let ids = import(&store, &with_articles("Nina", "Knots")).await.article_ids;
        let tx = store.begin().await.unwrap();
        let mut hidden = tx.article_to_edit(ids[1]).await.unwrap().unwrap();
        hidden.published = false;
        assert!(tx.save_article(&hidden, Timestamp(1)).await.unwrap());
        let gone = tx.article_to_edit(ids[2]).await.unwrap().unwrap();
        assert!(tx.delete_article(&gone, Timestamp(1)).await.unwrap());
        tx.commit().await.unwrap();

        let again = import(&store, &with_articles("Nina", "Better knots")).await;
        let counts = (again.articles.inserted, again.articles.updated, again.articles.unchanged);
        assert_eq!((counts, again.article_ids), ((0, 2, 1), vec![ids[0], ids[1]]));
        let hidden = store.article(ids[1]).await.unwrap().unwrap();
        assert_eq!((hidden.title.as_str(), hidden.published), ("Better knots", false));
        assert!(store.article(ids[2]).await.unwrap().is_none());
        assert_eq!(store.tag_counts(9).await.unwrap(), [("rope".to_owned(), 1)]);
    }

    #[tokio::test]
    async fn a_new_name_makes_everything_old_that_shows_it() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        let mut first = import(&store, &with_articles("Nina", "Knots")).await;
        let mut again = import(&store, &with_articles("Nina K.", "Knots")).await;
        assert_eq!((again.people.updated, again.articles.unchanged), (1, 3));
        for ids in [&mut first.article_ids, &mut again.article_ids] {
            ids.sort_unstable();
        }
        assert_eq!((again.article_ids, again.course_ids), (first.article_ids, first.course_ids));
    }

    #[tokio::test]
    async fn an_import_in_steps_that_was_cut_short_goes_on_where_it_was() {
        let made = || make(Size { courses: 5, users: 60, seed: 3 }).catalogue;
        let steps = made().into_steps(20);
        assert!(steps.len() > 4, "{} steps", steps.len());
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let (cut, whole) = (store(&folders[0]).await, store(&folders[1]).await);
        for step in steps[..2].iter().chain(&steps) {
            import(&cut, step).await;
        }
        import(&whole, &made()).await;
        let rows = async |store: &Store| {
            let all = lesson_completions::Entity::find()
                .order_by_asc(lesson_completions::Column::EnrollmentId)
                .order_by_asc(lesson_completions::Column::LessonId);
            let courses = courses::Entity::find().order_by_asc(courses::Column::Id);
            let courses = courses.all(&store.reader).await.unwrap().into_iter();
            let counts = courses.map(|c| (c.slug, c.enrolled_count, c.rating_sum, c.rating_score));
            (all.all(&store.reader).await.unwrap(), counts.collect::<Vec<_>>())
        };
        let (cut, whole) = (rows(&cut).await, rows(&whole).await);
        assert!(!whole.0.is_empty());
        assert_eq!(cut, whole);
        assert_eq!(Catalogue::of_steps(steps).rows(), made().rows());
    }

    #[tokio::test]
    async fn people_who_wish_for_one_name_get_numbers_also_within_a_batch() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        import(&store, &catalogue("Nina", "Knots", 5)).await;
        let mut others = Catalogue { source: "other".to_owned(), ..Catalogue::default() };
        for (id, username) in [("a", "NINA"), ("b", "nina"), ("c", "otto"), ("d", "Otto")] {
            let mut person = catalogue("Nina", "Knots", 5).people.remove(0);
            person.origin = Origin {
                source: "other".to_owned(),
                external_id: id.to_owned(),
                attribution: None,
            };
            person.username = username.to_owned();
            others.people.push(person);
        }
        import(&store, &others).await;
        let rows = users::Entity::find().order_by_asc(users::Column::Id).all(&store.reader).await;
        let names: Vec<String> = rows.unwrap().into_iter().map(|row| row.username).collect();
        assert_eq!(names, ["nina", "NINA-2", "nina-3", "otto", "Otto-2"]);
    }

    #[tokio::test]
    async fn the_score_in_the_database_is_the_score_of_the_model() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder).await;
        let first = import(&store, &catalogue("Nina", "Knots", 4)).await;
        let (person, course) = (first.user_ids[0], first.course_ids[0]);
        let score = async || {
            let row = courses::Entity::find_by_id(course).one(&store.reader).await;
            let row = row.unwrap().unwrap();
            ((row.rating_sum, row.rating_count), row.rating_score)
        };
        let model = |sum, count| ((sum, count), rating_score(Rating { sum, count }));
        assert_eq!(score().await, model(4, 1));
        let tx = store.begin().await.unwrap();
        tx.rate(course, person, 2).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(score().await, model(2, 1));
    }
}

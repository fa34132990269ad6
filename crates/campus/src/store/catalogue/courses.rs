//! Imported courses and their content.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, Set,
};

use super::{Change, Ids, Import, digest, free_name, look_up};
use crate::model::{
    Content, ContentDraft, CourseImport, CourseStatus, LessonDraft, ModuleDraft, Rating, Timestamp,
    rating_score,
};
use crate::store::content::{find_content, save_content};
use crate::store::courses::{category_key, search_text};
use crate::store::tables::courses;
use crate::store::{Error, Result};

impl Import<'_> {
    pub(super) async fn courses(&mut self, people: &Ids) -> Result<Ids> {
        let existing = courses::Entity::find()
            .filter(courses::Column::Source.eq(&self.catalogue.source))
            .all(self.tx)
            .await?;
        let deleted = existing.iter().filter(|row| row.deleted_at.is_some());
        self.deleted.courses = deleted.map(|row| row.id).collect();
        let mut existing: HashMap<String, courses::Model> =
            existing.into_iter().filter_map(|row| Some((row.external_id.clone()?, row))).collect();
        let mut ids: Ids = existing.iter().map(|(k, row)| (k.clone(), row.id)).collect();
        for course in &self.catalogue.courses {
            let known = existing.remove(&course.origin.external_id);
            let row = format!("the course '{}'", course.origin.external_id);
            let instructor = look_up(people, &course.instructor, "person", &row)?;
            let (id, change) = self.course(course, instructor, known).await?;
            ids.insert(course.origin.external_id.clone(), id);
            self.report.courses.count(change);
            self.report.modules += course.modules.len();
            self.report.lessons += course.modules.iter().map(|m| m.lessons.len()).sum::<usize>();
            if change != Change::Unchanged {
                self.report.course_ids.push(id);
            }
            self.step();
        }
        Ok(ids)
    }

    async fn course(
        &self,
        course: &CourseImport,
        instructor: i64,
        known: Option<courses::Model>,
    ) -> Result<(i64, Change)> {
        let digest = digest(course)?;
        let (id, change) = match known {
            Some(row)
                if row.deleted_at.is_some() || row.import_digest.as_deref() == Some(&digest) =>
            {
                return Ok((row.id, Change::Unchanged));
            }
            Some(row) => {
                let (id, version) = (row.id, row.version);
                let mut row = row.into_active_model();
                self.fill(&mut row, course, instructor, digest);
                row.version = Set(version + 1);
                row.update(self.tx).await?;
                (id, Change::Updated)
            }
            None => (self.insert_course(course, instructor, digest).await?, Change::Inserted),
        };
        self.content(id, course).await?;
        Ok((id, change))
    }

    async fn insert_course(
        &self,
        course: &CourseImport,
        instructor: i64,
        digest: String,
    ) -> Result<i64> {
        let slug = free_name(&course.slug, |slug| async move {
            let same = courses::Entity::find()
                .filter(courses::Column::Slug.eq(slug))
                .filter(courses::Column::DeletedAt.is_null());
            Ok::<bool, Error>(same.count(self.tx).await? > 0)
        })
        .await?;
        let published = course.status == CourseStatus::Published;
        let first_published = course.published_at.or(published.then_some(self.now));
        let mut row = courses::ActiveModel {
            slug: Set(slug),
            status: Set(course.status.as_str().to_owned()),
            published_at: Set(first_published.map(|at| at.0)),
            created_at: Set(first_published.map_or(self.now.0, |at| at.0.min(self.now.0))),
            enrolled_count: Set(0),
            rating_sum: Set(0),
            rating_count: Set(0),
            rating_score: Set(rating_score(Rating::default())),
            version: Set(1),
            ..Default::default()
        };
        self.fill(&mut row, course, instructor, digest);
        Ok(row.insert(self.tx).await?.id)
    }

    /// What every import sets. Status and slug are only set at first: afterwards
    /// they belong to whoever manages the course here.
    fn fill(
        &self,
        row: &mut courses::ActiveModel,
        course: &CourseImport,
        instructor: i64,
        digest: String,
    ) {
        if let Some(Timestamp(at)) = course.published_at {
            row.published_at = Set(Some(at));
        }
        row.title = Set(course.title.clone());
        row.description = Set(course.description.clone());
        row.search_text = Set(search_text(&course.title, &course.description));
        row.category = Set(course.category.clone());
        row.category_key = Set(category_key(&course.category));
        row.level = Set(course.level.as_str().to_owned());
        row.price_cents = Set(course.price.cents());
        row.max_students = Set(course.max_students);
        row.instructor_id = Set(instructor);
        row.updated_at = Set(self.now.0);
        row.source = Set(Some(course.origin.source.clone()));
        row.external_id = Set(Some(course.origin.external_id.clone()));
        row.attribution = Set(course.origin.attribution.clone());
        row.import_digest = Set(Some(digest));
    }

    async fn content(&self, course_id: i64, course: &CourseImport) -> Result<()> {
        let stored = find_content(self.tx, self.documents, course_id).await?;
        let (mut content, version) =
            stored.map_or((Content::default(), 0), |stored| (stored.content, stored.version));
        let known = content.known_ids();
        content
            .replace(draft(course, &known))
            .map_err(|refusal| Error::import(format!("{}: {refusal}", course.title)))?;
        self.documents.check_size(&content)?;
        save_content(self.tx, course_id, &content, version, self.now).await
    }
}

fn draft(course: &CourseImport, known: &Ids) -> ContentDraft {
    let id = |external: &str| known.get(external).copied();
    let lessons = |module: &crate::model::ModuleImport| {
        let lesson = |lesson: &crate::model::LessonImport| LessonDraft {
            id: id(&lesson.external_id),
            title: lesson.title.clone(),
            kind: lesson.kind.clone(),
            duration_minutes: lesson.duration_minutes,
            body: lesson.body.clone(),
            external_id: Some(lesson.external_id.clone()),
        };
        module.lessons.iter().map(lesson).collect()
    };
    let modules = course.modules.iter().map(|module| ModuleDraft {
        id: id(&module.external_id),
        title: module.title.clone(),
        position: None,
        lessons: lessons(module),
        external_id: Some(module.external_id.clone()),
    });
    ContentDraft { modules: modules.collect(), tags: Some(course.tags.clone()) }
}

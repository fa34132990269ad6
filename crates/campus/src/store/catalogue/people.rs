//! Imported people and their instructor profiles.

use std::collections::HashMap;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, Set,
};

use super::{Change, Ids, Import, digest, free_name};
use crate::model::PersonImport;
use crate::store::tables::users;
use crate::store::users::{is_named, rows_naming, save_instructor};
use crate::store::{Error, Result};

impl Import<'_> {
    pub(super) async fn people(&mut self) -> Result<Ids> {
        let existing = users::Entity::find()
            .filter(users::Column::Source.eq(&self.catalogue.source))
            .all(self.tx)
            .await?;
        let deleted = existing.iter().filter(|row| row.deleted_at.is_some());
        self.deleted.people = deleted.map(|row| row.id).collect();
        let mut existing: HashMap<String, users::Model> =
            existing.into_iter().filter_map(|row| Some((row.external_id.clone()?, row))).collect();
        let mut ids: Ids = existing.iter().map(|(k, row)| (k.clone(), row.id)).collect();
        for person in &self.catalogue.people {
            let known = existing.remove(&person.origin.external_id);
            let (id, change) = self.person(person, known).await?;
            ids.insert(person.origin.external_id.clone(), id);
            self.report.people.count(change);
            if change != Change::Unchanged {
                self.report.user_ids.push(id);
            }
            if change == Change::Updated {
                let (courses, articles) = rows_naming(self.tx, id).await?;
                self.report.course_ids.extend(courses);
                self.report.article_ids.extend(articles);
            }
            self.step();
        }
        Ok(ids)
    }

    async fn person(
        &self,
        person: &PersonImport,
        known: Option<users::Model>,
    ) -> Result<(i64, Change)> {
        let digest = digest(person)?;
        let (id, change) = match known {
            Some(row)
                if row.deleted_at.is_some() || row.import_digest.as_deref() == Some(&digest) =>
            {
                return Ok((row.id, Change::Unchanged));
            }
            Some(row) => (self.update_person(person, row, digest).await?, Change::Updated),
            None => (self.insert_person(person, digest).await?, Change::Inserted),
        };
        if !person.expertise.is_empty() || person.headline.is_some() {
            let (headline, bio) = (person.headline.as_deref(), person.bio.as_deref());
            save_instructor(self.tx, id, headline, bio, &person.expertise).await?;
        }
        Ok((id, change))
    }

    async fn update_person(
        &self,
        person: &PersonImport,
        row: users::Model,
        digest: String,
    ) -> Result<i64> {
        let (id, version) = (row.id, row.version);
        let mut row = row.into_active_model();
        row.full_name = Set(person.full_name.clone());
        row.bio = Set(person.bio.clone());
        row.version = Set(version + 1);
        row.attribution = Set(person.origin.attribution.clone());
        row.import_digest = Set(Some(digest));
        row.update(self.tx).await?;
        Ok(id)
    }

    async fn insert_person(&self, person: &PersonImport, digest: String) -> Result<i64> {
        let username = free_name(&person.username, |name| async move {
            let same = users::Entity::find().filter(is_named(&name));
            Ok::<bool, Error>(same.count(self.tx).await? > 0)
        })
        .await?;
        let row = users::ActiveModel {
            username: Set(username),
            full_name: Set(person.full_name.clone()),
            role: Set(person.role.as_str().to_owned()),
            bio: Set(person.bio.clone()),
            version: Set(1),
            created_at: Set(self.now.0),
            source: Set(Some(person.origin.source.clone())),
            external_id: Set(Some(person.origin.external_id.clone())),
            attribution: Set(person.origin.attribution.clone()),
            import_digest: Set(Some(digest)),
            ..Default::default()
        };
        Ok(row.insert(self.tx).await?.id)
    }
}

//! Imported people and their instructor profiles.

use std::collections::{HashMap, HashSet};

use sea_orm::sea_query::{Expr, Func};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, ExprTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QuerySelect, Set,
};

use super::members::BATCH;
use super::{Change, Ids, Import, digest, free_name};
use crate::model::PersonImport;
use crate::store::tables::users;
use crate::store::users::{is_named, rows_naming, save_instructor};
use crate::store::{Error, Result};

impl Import<'_> {
    /// The ids of everybody of the source. New ones are inserted many at a time.
    pub(super) async fn people(&mut self) -> Result<Ids> {
        let mut ids = self.known_people().await?;
        let people = &self.catalogue.people;
        for batch in people.chunks(BATCH) {
            let mut known = self.rows_of(batch).await?;
            let mut fresh = Vec::new();
            for person in batch {
                let digest = digest(person)?;
                let row = known.remove(&person.origin.external_id);
                let change = match row {
                    None => {
                        fresh.push((person, digest));
                        Change::Inserted
                    }
                    Some(row) => self.known_person(person, row, digest).await?,
                };
                self.report.people.count(change);
                self.step();
            }
            self.insert_people(&fresh, &mut ids).await?;
        }
        Ok(ids)
    }

    async fn known_people(&mut self) -> Result<Ids> {
        use users::Column;
        let rows: Vec<(i64, Option<String>, Option<i64>)> = users::Entity::find()
            .select_only()
            .columns([Column::Id, Column::ExternalId, Column::DeletedAt])
            .filter(Column::Source.eq(&self.catalogue.source))
            .into_tuple()
            .all(self.tx)
            .await?;
        let deleted = rows.iter().filter(|(_, _, deleted_at)| deleted_at.is_some());
        self.deleted.people = deleted.map(|(id, _, _)| *id).collect();
        Ok(rows.into_iter().filter_map(|(id, external, _)| Some((external?, id))).collect())
    }

    /// The rows that these people have already.
    async fn rows_of(&self, people: &[PersonImport]) -> Result<HashMap<String, users::Model>> {
        let names = people.iter().map(|person| person.origin.external_id.as_str());
        let rows = users::Entity::find()
            .filter(users::Column::Source.eq(&self.catalogue.source))
            .filter(users::Column::ExternalId.is_in(names))
            .all(self.tx)
            .await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.external_id.clone()?, row))).collect())
    }

    async fn known_person(
        &mut self,
        person: &PersonImport,
        row: users::Model,
        digest: String,
    ) -> Result<Change> {
        if row.deleted_at.is_some() || row.import_digest.as_deref() == Some(&digest) {
            return Ok(Change::Unchanged);
        }
        let (id, version) = (row.id, row.version);
        let mut row = row.into_active_model();
        row.full_name = Set(person.full_name.clone());
        row.bio = Set(person.bio.clone());
        row.version = Set(version + 1);
        row.attribution = Set(person.origin.attribution.clone());
        row.import_digest = Set(Some(digest));
        row.update(self.tx).await?;
        self.profile(person, id).await?;
        self.report.user_ids.push(id);
        let (courses, articles) = rows_naming(self.tx, id).await?;
        self.report.course_ids.extend(courses);
        self.report.article_ids.extend(articles);
        Ok(Change::Updated)
    }

    async fn insert_people(
        &mut self,
        fresh: &[(&PersonImport, String)],
        ids: &mut Ids,
    ) -> Result<()> {
        if fresh.is_empty() {
            return Ok(());
        }
        let names = self.free_names(fresh).await?;
        let rows = fresh.iter().zip(names).map(|((person, digest), username)| users::ActiveModel {
            username: Set(username),
            full_name: Set(person.full_name.clone()),
            role: Set(person.role.as_str().to_owned()),
            bio: Set(person.bio.clone()),
            version: Set(1),
            created_at: Set(self.now.0),
            source: Set(Some(person.origin.source.clone())),
            external_id: Set(Some(person.origin.external_id.clone())),
            attribution: Set(person.origin.attribution.clone()),
            import_digest: Set(Some(digest.clone())),
            ..Default::default()
        });
        users::Entity::insert_many(rows).exec_without_returning(self.tx).await?;
        let given: Vec<(i64, Option<String>)> = users::Entity::find()
            .select_only()
            .columns([users::Column::Id, users::Column::ExternalId])
            .filter(users::Column::Source.eq(&self.catalogue.source))
            .filter(users::Column::ExternalId.is_in(external_ids(fresh)))
            .into_tuple()
            .all(self.tx)
            .await?;
        self.report.user_ids.extend(given.iter().map(|(id, _)| *id));
        ids.extend(given.into_iter().filter_map(|(id, external)| Some((external?, id))));
        for (person, _) in fresh {
            if let Some(&id) = ids.get(&person.origin.external_id) {
                self.profile(person, id).await?;
            }
        }
        Ok(())
    }

    async fn profile(&self, person: &PersonImport, id: i64) -> Result<()> {
        if person.expertise.is_empty() && person.headline.is_none() {
            return Ok(());
        }
        let (headline, bio) = (person.headline.as_deref(), person.bio.as_deref());
        save_instructor(self.tx, id, headline, bio, &person.expertise).await
    }

    /// A user name for each: the wished one, or with the first number that makes it free.
    async fn free_names(&self, people: &[(&PersonImport, String)]) -> Result<Vec<String>> {
        let lower = || Func::lower(Expr::col(users::Column::Username));
        let wishes = people.iter().map(|(person, _)| person.username.to_ascii_lowercase());
        let taken: Vec<String> = users::Entity::find()
            .select_only()
            .column(users::Column::Username)
            .filter(lower().is_in(wishes))
            .into_tuple()
            .all(self.tx)
            .await?;
        let mut taken: HashSet<String> =
            taken.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        let mut names = Vec::with_capacity(people.len());
        for (person, _) in people {
            let mut name = person.username.clone();
            if taken.contains(&name.to_ascii_lowercase()) {
                name = self.numbered(&name, &taken).await?;
            }
            taken.insert(name.to_ascii_lowercase());
            names.push(name);
        }
        Ok(names)
    }

    async fn numbered(&self, wish: &str, taken: &HashSet<String>) -> Result<String> {
        free_name(wish, |name| async move {
            if taken.contains(&name.to_ascii_lowercase()) {
                return Ok(true);
            }
            let same = users::Entity::find().filter(is_named(&name));
            Ok::<bool, Error>(same.count(self.tx).await? > 0)
        })
        .await
    }
}

fn external_ids<'a>(people: &'a [(&PersonImport, String)]) -> impl Iterator<Item = &'a str> {
    people.iter().map(|(person, _)| person.origin.external_id.as_str())
}

//! A course's content: modules of lessons, with ids that are never used twice.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Fields, Refusal};

/// Ids above this are refused: JavaScript clients could not hold them exactly.
pub const MAX_CONTENT_ID: i64 = (1 << 53) - 1;

/// A document may not be larger when it is rendered, nor a request that brings one.
pub const MAX_CONTENT_BYTES: usize = 2 * 1024 * 1024;

/// The stored document. `next_id` only grows, so a deleted lesson's id never
/// comes back and old completions never count for a new lesson.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    pub modules: Vec<Module>,
    pub metadata: Metadata,
    pub next_id: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Module {
    pub id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    pub title: String,
    pub position: i64,
    pub lessons: Vec<Lesson>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    pub id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    pub title: String,
    pub kind: String,
    pub duration_minutes: i64,
    pub body: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ContentMetadata)]
pub struct Metadata {
    pub total_modules: i64,
    pub total_lessons: i64,
    pub total_duration_hours: f64,
    pub tags: Vec<String>,
}

/// A whole document as somebody wants it; totals are always computed.
#[derive(Debug, Clone)]
pub struct ContentDraft {
    pub modules: Vec<ModuleDraft>,
    /// Absent: they stay as they are.
    pub tags: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
pub struct ModuleDraft {
    /// Keeps the identity of an existing module; given here when absent.
    pub id: Option<i64>,
    pub title: String,
    /// Where the module goes; the order of the list when absent.
    pub position: Option<i64>,
    pub lessons: Vec<LessonDraft>,
    /// Only imported ones have it.
    pub external_id: Option<String>,
}

#[derive(Debug, Clone)]
pub struct LessonDraft {
    /// Keeps the identity of an existing lesson; given here when absent.
    pub id: Option<i64>,
    pub title: String,
    pub kind: String,
    pub duration_minutes: i64,
    pub body: String,
    /// Only imported ones have it.
    pub external_id: Option<String>,
}

/// Which lessons each module has: what progress is computed from, without the bodies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outline(pub Vec<(i64, Vec<i64>)>);

impl Outline {
    pub fn lessons(&self) -> impl Iterator<Item = i64> + '_ {
        self.0.iter().flat_map(|(_, lessons)| lessons.iter().copied())
    }

    /// The lessons of a module.
    pub fn module(&self, id: i64) -> Option<&[i64]> {
        let module = self.0.iter().find(|(module, _)| *module == id)?;
        Some(&module.1)
    }

    /// The module that a lesson is in.
    pub fn module_of(&self, lesson_id: i64) -> Option<i64> {
        let module = self.0.iter().find(|(_, lessons)| lessons.contains(&lesson_id))?;
        Some(module.0)
    }
}

impl Content {
    /// Modules and lessons of which only the ids are known.
    pub fn of_ids(outline: &Outline, next_id: i64) -> Self {
        let lesson = |&id: &i64| Lesson {
            id,
            external_id: None,
            title: String::new(),
            kind: String::new(),
            duration_minutes: 0,
            body: String::new(),
        };
        let module = |(id, lessons): &(i64, Vec<i64>)| Module {
            id: *id,
            external_id: None,
            title: String::new(),
            position: 0,
            lessons: lessons.iter().map(lesson).collect(),
        };
        let modules = outline.0.iter().map(module).collect();
        let mut content = Self { modules, ..Self::default() };
        let highest = content.ids().into_iter().max().unwrap_or(0);
        content.next_id = next_id.max(highest + 1);
        content
    }

    /// Replaces the document. Ids the client sends are kept, the others are given.
    pub fn replace(&mut self, draft: ContentDraft) -> Result<(), Refusal> {
        let mut fields = Fields::default();
        check_draft(&mut fields, &draft);
        let present = self.ids();
        for id in draft.modules.iter().flat_map(ModuleDraft::ids) {
            if !present.contains(&id) {
                self.refuse_deleted(&mut fields, id);
            }
        }
        let next_id = self.next_id_after(&mut fields, &draft.modules);
        fields.finish()?;
        self.next_id = next_id;
        let mut modules = draft.modules;
        let order = |index: usize, m: &ModuleDraft| m.position.unwrap_or(index as i64 + 1);
        let mut indexed: Vec<(i64, ModuleDraft)> = modules
            .drain(..)
            .enumerate()
            .map(|(index, module)| (order(index, &module), module))
            .collect();
        indexed.sort_by_key(|(position, _)| *position);
        self.modules = Vec::with_capacity(indexed.len());
        for (_, module) in indexed {
            let module = self.module(module);
            self.modules.push(module);
        }
        if let Some(tags) = draft.tags {
            self.metadata.tags = tags;
        }
        self.recount();
        Ok(())
    }

    /// Adds one module, at its position or at the end, and answers its id.
    pub fn add_module(&mut self, draft: ModuleDraft) -> Result<i64, Refusal> {
        let mut fields = Fields::default();
        check_module(&mut fields, format_args!(""), &draft);
        self.refuse_taken(&mut fields, draft.ids());
        let next_id = self.next_id_after(&mut fields, std::slice::from_ref(&draft));
        fields.finish()?;
        self.next_id = next_id;
        let end = self.modules.len();
        let at = draft.position.map_or(end, |p| (p.max(1) - 1) as usize);
        let module = self.module(draft);
        let id = module.id;
        self.modules.insert(at.min(end), module);
        self.recount();
        Ok(id)
    }

    /// Adds one lesson at the end of a module and answers its id.
    pub fn add_lesson(&mut self, module_id: i64, draft: LessonDraft) -> Result<i64, Refusal> {
        let mut fields = Fields::default();
        check_lesson(&mut fields, format_args!(""), &draft);
        self.refuse_taken(&mut fields, draft.id.into_iter());
        let next_id = self.next_id_beyond(&mut fields, draft.id, u64::from(draft.id.is_none()));
        fields.finish()?;
        self.next_id = next_id;
        let lesson = self.lesson(draft);
        let id = lesson.id;
        let module = self.modules.iter_mut().find(|m| m.id == module_id);
        module.ok_or(Refusal::NotFound("Module not found"))?.lessons.push(lesson);
        self.recount();
        Ok(id)
    }

    pub fn remove_module(&mut self, module_id: i64) -> Result<(), Refusal> {
        let before = self.modules.len();
        self.modules.retain(|module| module.id != module_id);
        if self.modules.len() == before {
            return Err(Refusal::NotFound("Module not found"));
        }
        self.recount();
        Ok(())
    }

    pub fn remove_lesson(&mut self, module_id: i64, lesson_id: i64) -> Result<(), Refusal> {
        let module = self.modules.iter_mut().find(|m| m.id == module_id);
        let lessons = &mut module.ok_or(Refusal::NotFound("Module not found"))?.lessons;
        let before = lessons.len();
        lessons.retain(|lesson| lesson.id != lesson_id);
        if lessons.len() == before {
            return Err(Refusal::NotFound("Lesson not found"));
        }
        self.recount();
        Ok(())
    }

    pub fn outline(&self) -> Outline {
        let lessons = |m: &Module| m.lessons.iter().map(|lesson| lesson.id).collect();
        Outline(self.modules.iter().map(|m| (m.id, lessons(m))).collect())
    }

    /// The ids that imported modules and lessons already have, by their source's ids.
    pub fn known_ids(&self) -> HashMap<String, i64> {
        let modules = self.modules.iter().map(|m| (&m.external_id, m.id));
        let lessons = self.modules.iter().flat_map(|m| &m.lessons);
        modules
            .chain(lessons.map(|l| (&l.external_id, l.id)))
            .filter_map(|(external, id)| Some((external.clone()?, id)))
            .collect()
    }

    fn module(&mut self, draft: ModuleDraft) -> Module {
        let id = self.give_id(draft.id);
        let lessons = draft.lessons.into_iter().map(|l| self.lesson(l)).collect();
        Module { id, external_id: draft.external_id, title: draft.title, position: 0, lessons }
    }

    fn lesson(&mut self, draft: LessonDraft) -> Lesson {
        Lesson {
            id: self.give_id(draft.id),
            external_id: draft.external_id,
            title: draft.title,
            kind: draft.kind,
            duration_minutes: draft.duration_minutes,
            body: draft.body,
        }
    }

    fn give_id(&mut self, wanted: Option<i64>) -> i64 {
        wanted.unwrap_or_else(|| {
            let id = self.next_id;
            self.next_id += 1;
            id
        })
    }

    /// The ids of the modules and lessons that there are.
    fn ids(&self) -> HashSet<i64> {
        let lessons = self.modules.iter().flat_map(|module| &module.lessons);
        let lessons = lessons.map(|lesson| lesson.id);
        self.modules.iter().map(|module| module.id).chain(lessons).collect()
    }

    /// For an addition: no id that there is, or was.
    fn refuse_taken(&self, fields: &mut Fields, ids: impl Iterator<Item = i64>) {
        let present = self.ids();
        for id in ids {
            if present.contains(&id) {
                fields.refuse("id", format!("{id} is already used in this content"));
            } else {
                self.refuse_deleted(fields, id);
            }
        }
    }

    /// An id below the next one that is not in the document was given, or skipped, in its past.
    fn refuse_deleted(&self, fields: &mut Fields, id: i64) {
        if id < self.next_id {
            let message = format!("{id} is no id of this content any more; leave it out");
            fields.refuse("id", message);
        }
    }

    /// The first id to give once these modules have those they ask for.
    fn next_id_after(&self, fields: &mut Fields, modules: &[ModuleDraft]) -> i64 {
        let highest = modules.iter().flat_map(ModuleDraft::ids).max();
        let unnamed = |module: &ModuleDraft| {
            let lessons = module.lessons.iter().filter(|lesson| lesson.id.is_none()).count();
            lessons as u64 + u64::from(module.id.is_none())
        };
        self.next_id_beyond(fields, highest, modules.iter().map(unnamed).sum())
    }

    /// The same, for the highest id asked for and how many there are to give.
    fn next_id_beyond(&self, fields: &mut Fields, highest: Option<i64>, to_give: u64) -> i64 {
        let next_id = self.next_id.max(1).max(highest.unwrap_or(0).saturating_add(1));
        if next_id.saturating_add_unsigned(to_give) > MAX_CONTENT_ID {
            fields.refuse("id", "is so high that no ids are left for what comes later");
        }
        next_id
    }

    fn recount(&mut self) {
        for (index, module) in self.modules.iter_mut().enumerate() {
            module.position = index as i64 + 1;
        }
        let lessons = || self.modules.iter().flat_map(|module| &module.lessons);
        let minutes: i64 = lessons().map(|lesson| lesson.duration_minutes).sum();
        self.metadata.total_modules = self.modules.len() as i64;
        self.metadata.total_lessons = lessons().count() as i64;
        // Hundredths of an hour, rounded half up in integers: the same on every machine.
        self.metadata.total_duration_hours = ((minutes * 100 + 30) / 60) as f64 / 100.0;
    }
}

impl ModuleDraft {
    fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        let lessons = self.lessons.iter().filter_map(|lesson| lesson.id);
        self.id.into_iter().chain(lessons)
    }
}

fn check_draft(fields: &mut Fields, draft: &ContentDraft) {
    let mut seen = HashSet::new();
    for (index, module) in draft.modules.iter().enumerate() {
        check_module(fields, format_args!("modules[{index}]."), module);
        for id in module.ids().filter(|id| !seen.insert(*id)) {
            fields.refuse(format_args!("modules[{index}]"), format!("id {id} is used twice"));
        }
    }
    for tag in draft.tags.iter().flatten() {
        fields.text("metadata.tags", tag, 1, 100);
    }
}

fn check_module(fields: &mut Fields, at: fmt::Arguments<'_>, module: &ModuleDraft) {
    check_id(fields, at, module.id);
    fields.text(format_args!("{at}title"), &module.title, 1, 300);
    for (index, lesson) in module.lessons.iter().enumerate() {
        check_lesson(fields, format_args!("{at}lessons[{index}]."), lesson);
    }
}

fn check_lesson(fields: &mut Fields, at: fmt::Arguments<'_>, lesson: &LessonDraft) {
    check_id(fields, at, lesson.id);
    fields.text(format_args!("{at}title"), &lesson.title, 1, 300);
    fields.text(format_args!("{at}kind"), &lesson.kind, 1, 50);
    fields.text(format_args!("{at}body"), &lesson.body, 0, 2_000_000);
    let minutes = lesson.duration_minutes;
    fields.range(format_args!("{at}duration_minutes"), minutes, 0, 100_000);
}

fn check_id(fields: &mut Fields, at: fmt::Arguments<'_>, id: Option<i64>) {
    if let Some(id) = id {
        fields.range(format_args!("{at}id"), id, 1, MAX_CONTENT_ID);
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, ContentDraft, LessonDraft, MAX_CONTENT_ID, ModuleDraft, Outline};

    fn lesson(id: Option<i64>) -> LessonDraft {
        LessonDraft {
            id,
            title: "A lesson".to_owned(),
            kind: "text".to_owned(),
            duration_minutes: 20,
            body: String::new(),
            external_id: None,
        }
    }

    fn module(id: Option<i64>, lessons: Vec<LessonDraft>) -> ModuleDraft {
        ModuleDraft { id, title: "A module".to_owned(), position: None, lessons, external_id: None }
    }

    #[test]
    fn the_id_of_a_removed_lesson_is_never_given_again() {
        let mut content = Content::default();
        let module_id = content.add_module(module(None, vec![])).unwrap();
        let first = content.add_lesson(module_id, lesson(None)).unwrap();
        content.remove_lesson(module_id, first).unwrap();
        let second = content.add_lesson(module_id, lesson(None)).unwrap();
        assert_ne!(first, second);
        assert_eq!(content.metadata.total_lessons, 1);
    }

    #[test]
    fn ids_sent_by_the_client_are_kept_and_never_collide_with_given_ones() {
        let mut content = Content::default();
        let lessons = vec![lesson(None), lesson(Some(7)), lesson(None)];
        let draft = ContentDraft { modules: vec![module(None, lessons)], tags: None };
        content.replace(draft).unwrap();
        let ids: Vec<i64> = content.outline().lessons().collect();
        assert_eq!(ids, [9, 7, 10]);
        assert_eq!(content.metadata.total_duration_hours, 1.0);
    }

    #[test]
    fn content_of_which_only_the_ids_are_left_keeps_them_and_gives_others() {
        let draft = |lesson_id| ContentDraft {
            modules: vec![module(Some(1), vec![lesson(Some(lesson_id)), lesson(None)])],
            tags: None,
        };
        let left = || Content::of_ids(&Outline(vec![(1, vec![2, 3])]), 0);
        let mut content = left();
        assert_eq!(content.next_id, 4);
        content.replace(draft(3)).unwrap();
        assert_eq!(content.outline().lessons().collect::<Vec<i64>>(), [3, 4]);
        let mut content = Content::of_ids(&left().outline(), 9);
        assert!(content.replace(draft(8)).is_err(), "somebody has done it once");
    }

    #[test]
    fn an_id_used_twice_is_refused() {
        let draft =
            ContentDraft { modules: vec![module(Some(1), vec![lesson(Some(1))])], tags: None };
        assert!(Content::default().replace(draft).is_err());
    }

    #[test]
    fn the_id_of_a_deleted_lesson_cannot_be_asked_for_again() {
        let mut content = Content::default();
        let module_id = content.add_module(module(None, vec![lesson(None)])).unwrap();
        let kept = content.add_lesson(module_id, lesson(None)).unwrap();
        let deleted = content.add_lesson(module_id, lesson(None)).unwrap();
        content.remove_lesson(module_id, deleted).unwrap();
        assert!(content.add_lesson(module_id, lesson(Some(deleted))).is_err());
        assert!(content.add_module(module(None, vec![lesson(Some(deleted))])).is_err());
        let draft = |id| ContentDraft {
            modules: vec![module(Some(module_id), vec![lesson(Some(id))])],
            tags: None,
        };
        assert!(content.replace(draft(deleted)).is_err());
        content.replace(draft(kept)).unwrap();
    }

    #[test]
    fn an_id_that_would_use_up_all_ids_is_refused() {
        let mut content = Content::default();
        let module_id = content.add_module(module(None, vec![])).unwrap();
        assert!(content.add_lesson(module_id, lesson(Some(MAX_CONTENT_ID))).is_err());
        content.add_lesson(module_id, lesson(Some(MAX_CONTENT_ID - 1))).unwrap();
        assert!(content.add_lesson(module_id, lesson(None)).is_err());
        assert!(content.add_module(module(None, vec![])).is_err());
    }

    #[test]
    fn a_refused_draft_changes_nothing() {
        let mut content = Content::default();
        let draft =
            ContentDraft { modules: vec![module(Some(9), vec![lesson(Some(9))])], tags: None };
        assert!(content.replace(draft).is_err());
        assert_eq!(content.next_id, 0);
    }
}

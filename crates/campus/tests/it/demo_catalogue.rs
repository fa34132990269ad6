//! The bundled catalogue keeps the promises that the README makes about it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct Course {
    slug: String,
    category: String,
    modules: Vec<Module>,
}

#[derive(Deserialize)]
struct Module {
    title: String,
    lessons: Vec<Lesson>,
}

#[derive(Deserialize)]
struct Lesson {
    title: String,
    duration_minutes: u32,
    body: String,
}

fn catalogue() -> Vec<Course> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read =
        |file| -> Vec<Course> { serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap() };
    files.into_iter().flat_map(read).collect()
}

/// Every lesson body with the name that a failure shows.
fn bodies(courses: &[Course]) -> Vec<(String, &str)> {
    let mut bodies = Vec::new();
    for course in courses {
        for module in &course.modules {
            for lesson in &module.lessons {
                bodies.push((format!("{} / {}", course.slug, lesson.title), lesson.body.as_str()));
            }
        }
    }
    bodies
}

#[test]
fn there_are_sixty_courses_over_eight_fields() {
    let courses = catalogue();
    let fields: HashSet<&str> = courses.iter().map(|course| course.category.as_str()).collect();
    assert!(courses.len() >= 60, "{} courses", courses.len());
    assert!(fields.len() >= 8, "{fields:?}");
}

#[test]
fn every_slug_is_used_once() {
    let courses = catalogue();
    let slugs: HashSet<&str> = courses.iter().map(|course| course.slug.as_str()).collect();
    assert_eq!(slugs.len(), courses.len());
}

#[test]
fn every_course_has_two_to_six_modules_of_two_to_six_lessons() {
    for course in catalogue() {
        assert!((2..=6).contains(&course.modules.len()), "{}", course.slug);
        for module in &course.modules {
            let lessons = module.lessons.len();
            assert!((2..=6).contains(&lessons), "{} / {}: {lessons}", course.slug, module.title);
            assert!(
                module.lessons.iter().all(|lesson| lesson.duration_minutes > 0),
                "{}",
                course.slug
            );
        }
    }
}

#[test]
fn every_lesson_has_at_least_120_words() {
    for (name, body) in bodies(&catalogue()) {
        let words = body.split_whitespace().count();
        assert!(words >= 120, "{name}: {words} words");
    }
}

#[test]
fn no_two_lessons_share_more_than_30_percent_of_their_five_word_runs() {
    let courses = catalogue();
    let bodies = bodies(&courses);
    let runs: Vec<HashSet<String>> = bodies.iter().map(|(_, body)| five_word_runs(body)).collect();
    let mut lessons_with: HashMap<&str, Vec<usize>> = HashMap::new();
    for (lesson, runs) in runs.iter().enumerate() {
        runs.iter().for_each(|run| lessons_with.entry(run).or_default().push(lesson));
    }
    let mut shared: HashMap<(usize, usize), usize> = HashMap::new();
    for lessons in lessons_with.values() {
        for (index, &first) in lessons.iter().enumerate() {
            for &second in &lessons[index + 1..] {
                *shared.entry((first, second)).or_default() += 1;
            }
        }
    }
    for ((first, second), count) in shared {
        // Of the shorter one: a short text inside a long one is a copy too.
        let smaller = runs[first].len().min(runs[second].len());
        assert!(
            count * 10 <= smaller * 3,
            "{} and {} share {count} of {smaller} runs",
            bodies[first].0,
            bodies[second].0
        );
    }
}

fn five_word_runs(body: &str) -> HashSet<String> {
    let words: Vec<String> = body
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.windows(5).map(|run| run.join(" ")).collect()
}

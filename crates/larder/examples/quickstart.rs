use std::time::Duration;

use larder::{Cache, CacheKey, KeyWriter, Policy, Public, Tag, Tags};

struct CourseKey(i64);

impl CacheKey for CourseKey {
    type Value = String;
    type Scope = Public;
    const NAMESPACE: &'static str = "courses";
    const NAME: &'static str = "course:detail"; // in Redis: larder:course:detail@1:42
    const VERSION: u16 = 1;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(300), Duration::from_secs(600))
    }
    fn segments(&self, key: &mut KeyWriter) {
        key.push(self.0);
    }
    fn tags(&self, _: &Public, tags: &mut Tags) {
        tags.add(Tag::new("course", self.0));
    }
}

async fn title_from_the_database(id: i64) -> Result<String, std::io::Error> {
    Ok(format!("Course {id}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::builder().redis("redis://127.0.0.1/")?.build()?; // starts with Redis down, too
    let course = cache.get_or_load(&CourseKey(42), || title_from_the_database(42)).await?;
    assert_eq!(*course.value, "Course 42");

    // … UPDATE courses …; COMMIT; then, before the write is acknowledged:
    cache.invalidate(Tag::new("course", 42)).await;
    Ok(())
}

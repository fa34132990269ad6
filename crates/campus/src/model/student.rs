//! What one student has done, and how likely it looks that they give up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EnrollmentStatus, Timestamp, percent, quotient};

const DAY: i64 = 24 * 60 * 60 * 1_000_000;
const WEEK: i64 = 7 * DAY;
/// The days that are looked back on, today included.
const DAYS: i64 = 30;
/// How long a course is expected to take.
const COURSE: i64 = 8 * WEEK;
/// Inactivity begins to count after the first of these, and counts in full at the second.
const IDLE: (i64, i64) = (3 * DAY, 21 * DAY);

/// The courses of one student, from which every figure follows: those of all of them, and
/// those that one instructor may see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentFigures {
    pub user_id: i64,
    pub courses: Vec<StudentCourse>,
    pub generated_at: Timestamp,
}

/// A course in which a student has or had a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StudentCourse {
    pub id: i64,
    pub title: String,
    pub slug: String,
    pub instructor_id: i64,
    /// Nothing if it was dropped.
    pub place: Option<Pace>,
    /// How often it was dropped.
    pub dropped: i64,
    /// When lessons were done lately, dropped places included.
    pub recent: Vec<Timestamp>,
}

/// How fast a student goes through a course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    pub status: EnrollmentStatus,
    pub enrolled_at: Timestamp,
    pub last_accessed_at: Option<Timestamp>,
    pub minutes: i64,
    /// Lessons done that the course still has.
    pub done: i64,
    pub lessons: i64,
}

impl Pace {
    pub fn progress_percent(&self) -> f64 {
        percent(self.done, self.lessons)
    }

    /// How far a student would be who needs eight weeks.
    pub fn expected_percent(&self, now: Timestamp) -> f64 {
        percent(self.since(now).min(COURSE), COURSE)
    }

    /// Over the time since the enrollment, but at least a week.
    pub fn lessons_per_week(&self, now: Timestamp) -> f64 {
        quotient(self.done.saturating_mul(WEEK), self.since(now).max(WEEK))
    }

    fn since(&self, now: Timestamp) -> i64 {
        now.0.saturating_sub(self.enrolled_at.0).max(0)
    }

    /// The progress expected by now and what is missing of it, in millionths of the course.
    /// Nobody does a part of a lesson: before the first one is due nothing is expected and nothing
    /// is missing, which after a minute would otherwise be all of next to nothing.
    fn expected_and_missing(&self, now: Timestamp) -> (i64, i64) {
        if self.lessons == 0 {
            return (0, 0);
        }
        let elapsed = i128::from(self.since(now).min(COURSE));
        let due = (i128::from(self.lessons) * elapsed / i128::from(COURSE)) as i64;
        let part = |lessons: i64| lessons * 1_000_000 / self.lessons;
        (part(due), (part(due) - part(self.done)).max(0))
    }

    fn last_activity(&self) -> Timestamp {
        self.last_accessed_at.unwrap_or(self.enrolled_at).max(self.enrolled_at)
    }
}

impl StudentFigures {
    /// Only what concerns the courses of one instructor; nothing if the student is in none.
    pub fn taught_by(&self, instructor_id: i64) -> Option<Self> {
        let own = self.courses.iter().filter(|course| course.instructor_id == instructor_id);
        let courses: Vec<StudentCourse> = own.cloned().collect();
        (!courses.is_empty()).then_some(Self { courses, ..*self })
    }

    /// The first moment that [`StudentCourse::recent`] goes back to.
    pub fn recent_from(now: Timestamp) -> Timestamp {
        Timestamp((now.0.div_euclid(DAY) - (DAYS - 1)) * DAY)
    }

    /// Each of the last days (UTC), the oldest first, with how many lessons were done.
    pub fn completions_per_day(&self) -> Vec<(Timestamp, i64)> {
        let first = Self::recent_from(self.generated_at);
        let mut days: Vec<(Timestamp, i64)> =
            (0..DAYS).map(|day| (Timestamp(first.0 + day * DAY), 0)).collect();
        for at in self.recent() {
            let day = usize::try_from((at.0 - first.0).div_euclid(DAY));
            if let Some((_, count)) = day.ok().and_then(|day| days.get_mut(day)) {
                *count += 1;
            }
        }
        days
    }

    /// How many of those lessons were done in each hour of the day (UTC).
    pub fn active_hours(&self) -> [i64; 24] {
        let mut hours = [0; 24];
        for at in self.recent() {
            hours[(at.0.rem_euclid(DAY) / (DAY / 24)) as usize] += 1;
        }
        hours
    }

    fn recent(&self) -> impl Iterator<Item = Timestamp> {
        self.courses.iter().flat_map(|course| course.recent.iter().copied())
    }

    /// The courses that the student has a place in.
    pub fn places(&self) -> impl Iterator<Item = (&StudentCourse, &Pace)> {
        self.courses.iter().filter_map(|course| Some((course, course.place.as_ref()?)))
    }

    pub fn dropped(&self) -> i64 {
        self.courses.iter().map(|course| course.dropped).sum()
    }

    pub fn risk(&self) -> Risk {
        let parts = [self.inactivity(), self.missing_pace(), self.drops()];
        let reasons: Vec<RiskReason> = parts.into_iter().flatten().collect();
        let hundredths: i64 = reasons.iter().map(|reason| reason.hundredths).sum();
        Risk::new((hundredths + 50) / 100, reasons)
    }

    /// Whoever is to do something: a completed course asks for nothing more.
    fn active(&self) -> impl Iterator<Item = &Pace> {
        let places = self.places().map(|(_, pace)| pace);
        places.filter(|pace| pace.status == EnrollmentStatus::Active)
    }

    fn inactivity(&self) -> Option<RiskReason> {
        self.active().next()?;
        let last = self.places().map(|(_, pace)| pace.last_activity()).max()?;
        let idle = self.generated_at.0.saturating_sub(last.0);
        let (from, to) = IDLE;
        let counted = (idle - from).clamp(0, to - from);
        let detail = format!("nothing was done for {} days", idle / DAY);
        RiskReason::new(RiskPart::Inactivity, share(40, counted, to - from), detail)
    }

    fn missing_pace(&self) -> Option<RiskReason> {
        let now = self.generated_at;
        let (expected, missing) = self
            .active()
            .map(|pace| pace.expected_and_missing(now))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let percent = percent(missing, expected);
        let detail = format!("{percent} % of the progress expected by now is missing");
        RiskReason::new(RiskPart::Pace, share(40, missing, expected), detail)
    }

    fn drops(&self) -> Option<RiskReason> {
        let dropped = self.dropped();
        let all = dropped + self.places().count() as i64;
        let detail = format!("{dropped} of {all} enrollments were dropped");
        RiskReason::new(RiskPart::Drops, share(20, dropped, all), detail)
    }
}

/// That share of some points, in hundredths of a point.
fn share(points: i64, part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return 0;
    }
    let (part, whole) = (i128::from(part), i128::from(whole));
    ((i128::from(points) * 200 * part + whole) / (2 * whole)) as i64
}

/// How likely it looks that a student gives up.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Risk {
    /// 0 to 100.
    #[schema(example = 52)]
    pub score: i64,
    pub level: RiskLevel,
    /// What the score is made of.
    pub reasons: Vec<RiskReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    Low,
    Medium,
    High,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RiskReason {
    pub part: RiskPart,
    #[schema(example = 22.22)]
    pub points: f64,
    #[schema(example = "nothing was done for 13 days")]
    pub detail: String,
    #[serde(skip)]
    hundredths: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RiskPart {
    Inactivity,
    Pace,
    Drops,
}

impl Risk {
    fn new(score: i64, reasons: Vec<RiskReason>) -> Self {
        let level = match score {
            ..34 => RiskLevel::Low,
            34..67 => RiskLevel::Medium,
            67.. => RiskLevel::High,
        };
        Self { score, level, reasons }
    }
}

impl RiskReason {
    /// Nothing, if it adds nothing.
    fn new(part: RiskPart, hundredths: i64, detail: String) -> Option<Self> {
        let points = hundredths as f64 / 100.0;
        (hundredths > 0).then_some(Self { part, points, detail, hundredths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EnrollmentStatus::{Active, Completed};

    const NOW: Timestamp = Timestamp(1_772_357_400_000_000); // 2026-03-01T09:30:00Z

    fn ago(days: i64) -> Timestamp {
        Timestamp(NOW.0 - days * DAY)
    }

    /// A place in a course of ten lessons.
    fn place(status: EnrollmentStatus, enrolled: i64, seen: i64, done: i64) -> Option<Pace> {
        let last_accessed_at = Some(ago(seen));
        Some(Pace {
            status,
            enrolled_at: ago(enrolled),
            last_accessed_at,
            minutes: 5,
            done,
            lessons: 10,
        })
    }

    fn student(places: Vec<Option<Pace>>) -> StudentFigures {
        let course = |(id, place): (usize, Option<Pace>)| StudentCourse {
            id: id as i64,
            title: "A course".to_owned(),
            slug: "a-course".to_owned(),
            instructor_id: id as i64,
            dropped: i64::from(place.is_none()),
            place,
            recent: vec![ago(0), ago(id as i64 + 1), ago(29)],
        };
        let courses = places.into_iter().enumerate().map(course).collect();
        StudentFigures { user_id: 7, courses, generated_at: NOW }
    }

    fn points(figures: &StudentFigures) -> Vec<(RiskPart, f64)> {
        figures.risk().reasons.iter().map(|reason| (reason.part, reason.points)).collect()
    }

    #[test]
    fn nobody_without_anything_to_do_is_at_risk() {
        for figures in [
            student(vec![]),
            student(vec![place(Completed, 400, 300, 10)]),
            student(vec![place(Completed, 400, 300, 3)]),
        ] {
            let risk = figures.risk();
            assert_eq!((risk.score, risk.level, risk.reasons), (0, RiskLevel::Low, vec![]));
        }
    }

    #[test]
    fn inactivity_counts_from_the_fourth_day_to_the_twenty_first() {
        for (days, expected) in
            [(0, 0.0), (3, 0.0), (12, 20.0), (13, 22.22), (21, 40.0), (99, 40.0)]
        {
            let risk = student(vec![place(Active, 100, days, 10)]).risk();
            let points: f64 = risk.reasons.iter().map(|reason| reason.points).sum();
            assert_eq!(points, expected, "{days} days");
        }
        // What was done in one course is activity in the other, and so is a new place.
        let busy = student(vec![place(Active, 50, 40, 10), place(Active, 50, 1, 10)]);
        assert_eq!(points(&busy), []);
    }

    #[test]
    fn the_pace_counts_what_is_missing_of_eight_weeks_work() {
        // Half of the time has gone, so half of the work is expected.
        for (done, expected) in
            [(5, vec![]), (3, vec![(RiskPart::Pace, 16.0)]), (0, vec![(RiskPart::Pace, 40.0)])]
        {
            assert_eq!(points(&student(vec![place(Active, 28, 0, done)])), expected, "{done}");
        }
        let old = student(vec![place(Active, 4000, 0, 9)]);
        assert_eq!(points(&old), [(RiskPart::Pace, 4.0)]);
        let two = student(vec![place(Active, 28, 0, 0), place(Active, 28, 0, 10)]);
        assert_eq!(points(&two), [(RiskPart::Pace, 20.0)]);
        // Ten lessons in eight weeks: the first one is due after 5.6 days.
        for days in 0..=5 {
            assert_eq!(points(&student(vec![place(Active, days, 0, 0)])), [], "{days} days");
        }
        assert_eq!(points(&student(vec![place(Active, 6, 0, 0)])), [(RiskPart::Pace, 40.0)]);
        assert_eq!(points(&student(vec![place(Active, 6, 0, 1)])), []);
        let mut empty = place(Active, 56, 0, 0).unwrap();
        empty.lessons = 0;
        assert_eq!(points(&student(vec![Some(empty)])), []);
    }

    #[test]
    fn everything_at_once_is_a_hundred_and_the_levels_begin_where_they_should() {
        let lost = student(vec![place(Active, 56, 56, 0), None]);
        assert_eq!(
            points(&lost),
            [(RiskPart::Inactivity, 40.0), (RiskPart::Pace, 40.0), (RiskPart::Drops, 10.0)]
        );
        assert_eq!((lost.risk().score, lost.risk().level), (90, RiskLevel::High));
        let levels = [33, 34, 66, 67].map(|score| Risk::new(score, vec![]).level);
        use RiskLevel::{High, Low, Medium};
        assert_eq!(levels, [Low, Medium, Medium, High]);
        assert_eq!(student(vec![None, None]).risk().score, 20);
    }

    #[test]
    fn an_instructor_gets_the_figures_of_their_courses_alone() {
        let all = student(vec![place(Active, 56, 56, 0), place(Active, 28, 0, 5), None]);
        let own = all.taught_by(1).unwrap();
        assert_eq!(own.courses, all.courses[1..2]);
        assert_eq!(own.risk().score, 0);
        assert!(all.risk().score > 0);
        assert!(all.taught_by(7).is_none());
    }

    #[test]
    fn days_and_hours_count_the_lessons_of_thirty_days() {
        let figures = student(vec![None, None]);
        let days = figures.completions_per_day();
        assert_eq!(
            (days.len(), days[0].0, days[29].0),
            (30, Timestamp(ago(29).0 - 34_200_000_000), Timestamp(NOW.0 - 34_200_000_000))
        );
        let counts: Vec<i64> = days.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[27], counts[28], counts[29]), (2, 1, 1, 2));
        assert_eq!(counts.iter().sum::<i64>(), 6);
        let hours = figures.active_hours();
        assert_eq!((hours[9], hours.iter().sum::<i64>()), (6, 6));
    }
}

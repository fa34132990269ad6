//! Certificates, with the names that they show.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, FromQueryResult, JoinType, Order, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, RelationTrait, Select, Set,
};

use super::tables::{certificates, courses, enrollments, users};
use super::{Error, Result, Store, Tx};
use crate::model::{Certificate, CertificateCode, Timestamp, Window};

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    code: String,
    issued_at: i64,
    course_id: i64,
    course_title: String,
    instructor_id: i64,
    student_id: i64,
    student_name: String,
}

impl TryFrom<Row> for Certificate {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let code = CertificateCode::parse(&row.code);
        Ok(Self {
            id: row.id,
            code: code.ok_or_else(|| Error::corrupt("a certificate has no code"))?,
            course_id: row.course_id,
            course_title: row.course_title,
            instructor_id: row.instructor_id,
            student_id: row.student_id,
            student_name: row.student_name,
            issued_at: Timestamp(row.issued_at),
        })
    }
}

/// Those of people who are still there: nobody can say whose the others are. A deleted
/// course takes no certificate with it, for what was learned stays learned.
fn certificates() -> Select<certificates::Entity> {
    use certificates::Column;
    certificates::Entity::find()
        .select_only()
        .columns([Column::Id, Column::Code, Column::IssuedAt])
        .columns([enrollments::Column::CourseId, enrollments::Column::StudentId])
        .column(courses::Column::InstructorId)
        .column_as(courses::Column::Title, "course_title")
        .column_as(users::Column::FullName, "student_name")
        .join(JoinType::InnerJoin, certificates::Relation::Enrollment.def())
        .join(JoinType::InnerJoin, enrollments::Relation::Course.def())
        .join(JoinType::InnerJoin, enrollments::Relation::Student.def())
        .filter(users::Column::DeletedAt.is_null())
}

fn of(student_id: i64) -> Select<certificates::Entity> {
    certificates().filter(enrollments::Column::StudentId.eq(student_id))
}

impl Store {
    pub async fn certificate(&self, id: i64) -> Result<Option<Certificate>> {
        self.one(certificates().filter(certificates::Column::Id.eq(id))).await
    }

    pub async fn certificate_with(&self, code: &CertificateCode) -> Result<Option<Certificate>> {
        self.one(certificates().filter(certificates::Column::Code.eq(code.as_str()))).await
    }

    /// A page of a person's certificates, the newest first, and how many there are.
    pub async fn certificates_of(
        &self,
        student_id: i64,
        window: Window,
    ) -> Result<(Vec<Certificate>, i64)> {
        let total = of(student_id).count(&self.reader).await?;
        let page = of(student_id).offset(window.skip as u64).limit(window.limit as u64);
        Ok((self.newest_first(page).await?, total as i64))
    }

    pub(super) async fn every_certificate_of(&self, student_id: i64) -> Result<Vec<Certificate>> {
        self.newest_first(of(student_id)).await
    }

    async fn one(&self, select: Select<certificates::Entity>) -> Result<Option<Certificate>> {
        let row = select.into_model::<Row>().one(&self.reader).await?;
        row.map(Certificate::try_from).transpose()
    }

    async fn newest_first(&self, select: Select<certificates::Entity>) -> Result<Vec<Certificate>> {
        let ordered = select.order_by(certificates::Column::Id, Order::Desc);
        let rows = ordered.into_model::<Row>().all(&self.reader).await?;
        rows.into_iter().map(Certificate::try_from).collect()
    }
}

impl Tx {
    pub async fn insert_certificate(
        &self,
        enrollment_id: i64,
        code: &CertificateCode,
        now: Timestamp,
    ) -> Result<()> {
        let row = certificates::ActiveModel {
            enrollment_id: Set(enrollment_id),
            code: Set(code.as_str().to_owned()),
            issued_at: Set(now.0),
            ..Default::default()
        };
        row.insert(&self.0).await?;
        Ok(())
    }
}

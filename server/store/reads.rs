//! What every caller asks for, many at once: executions and workflows by their names.

use std::sync::Arc;

use super::{
    Result,
    connections::Connections,
    db::{AnyRow, Arg, Db, Sql, args},
    execution::{self, ExecutionRow},
    open,
    together::Together,
    workflows::{self, WorkflowRow},
};

/// Reads of one workspace; cheap to clone.
#[derive(Clone)]
pub(super) struct Reads {
    /// Executions by their ids.
    pub(super) executions: Together<ExecutionRow>,
    /// Workflows by their names.
    pub(super) workflows: Together<WorkflowRow>,
    place: Place,
}

/// Where they are read.
#[derive(Clone)]
enum Place {
    Sqlite(Db),
    Postgres(Arc<Connections>),
}

impl Reads {
    pub(super) fn new(db: &Db, url: &str, workspace: &Arc<str>) -> Result<Reads> {
        let place = match db {
            Db::Sqlite { .. } => Place::Sqlite(db.clone()),
            Db::Postgres(_) => {
                Place::Postgres(Arc::new(Connections::new(open::postgres_options(url)?)))
            }
        };
        let id = |row: &ExecutionRow| row.id.clone();
        let name = |row: &WorkflowRow| row.name.clone();
        Ok(Reads {
            executions: together(&place, workspace, execution::BY_ID, id),
            workflows: together(&place, workspace, workflows::BY_NAME, name),
            place,
        })
    }

    /// Closes the connections.
    pub(super) async fn close(&self) {
        if let Place::Postgres(connections) = &self.place {
            connections.close().await;
        }
    }
}

impl Place {
    async fn all<T: AnyRow>(&self, sql: Sql, keys: Vec<String>, workspace: &str) -> Result<Vec<T>> {
        match (self, sql) {
            (Place::Postgres(connections), Sql::Each { postgres: sql, .. } | Sql::Both(sql)) => {
                let keys = keys.into_iter().map(|key| Some(key.into())).collect();
                connections.all(sql, &[Arg::Texts(keys), Arg::from(workspace)]).await
            }
            (Place::Sqlite(db), sql) => {
                let keys = serde_json::json!(keys).to_string();
                Ok(db.all(sql, args![keys, workspace]).await?)
            }
        }
    }
}

/// Rows by their keys; the statement takes the keys and the workspace.
fn together<T: AnyRow + Clone + 'static>(
    place: &Place,
    workspace: &Arc<str>,
    sql: Sql,
    key: impl Fn(&T) -> String + Copy + Send + Sync + 'static,
) -> Together<T> {
    let (place, workspace) = (place.clone(), Arc::clone(workspace));
    Together::new(move |keys| {
        let (place, workspace) = (place.clone(), Arc::clone(&workspace));
        async move {
            let rows: Vec<T> = place.all(sql, keys, &workspace).await?;
            Ok(rows.into_iter().map(|row| (key(&row), row)).collect())
        }
    })
}

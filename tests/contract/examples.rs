//! Checks the example templates.

use crate::document::file;

/// CloudFormation may change every role that matches `role/<StackName>-*`, and `*` in an ARN also matches slashes.
#[test]
fn cloudformation_cannot_change_the_deployment_roles_of_any_stack() {
    let template = file("infra/examples/deploy-role.yaml");
    let values = |name| {
        let lines = template.lines().map(str::trim_start);
        lines.filter_map(move |line| line.strip_prefix(name))
    };
    assert_eq!(
        values("AllowedPattern: ").next(),
        Some("^[a-z][a-z0-9-]{0,23}$"),
        "the name of a stack contains no slash"
    );
    let paths: Vec<_> = values("Path: ").collect();
    assert_eq!(paths.len(), 2);
    for path in paths {
        let folder = path[1..].split('/').next().unwrap();
        assert!(!folder.is_empty() && !folder.contains('-'), "{path}");
    }
}

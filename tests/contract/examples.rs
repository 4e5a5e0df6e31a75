//! Checks the example templates.

use crate::document::file;

/// Returns what follows `name` in the lines that begin with it.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim_start);
    lines.filter_map(|line| line.strip_prefix(name)).collect()
}

/// CloudFormation may change every role whose ARN matches `role/<StackName>-*`. Because `*` also matches slashes, the
/// first folder in the path of the deployment roles must not contain a hyphen.
#[test]
fn cloudformation_cannot_change_the_deployment_roles_of_any_stack() {
    let template = file("infra/examples/deploy-role.yaml");
    assert_eq!(
        values(&template, "AllowedPattern: ")[0],
        "^[a-z][a-z0-9-]{0,23}$",
        "the name of a stack contains no slash"
    );
    let paths = values(&template, "Path: ");
    assert_eq!(paths.len(), 2);
    for path in paths {
        let folder = path[1..].split('/').next().unwrap();
        assert!(!folder.is_empty() && !folder.contains('-'), "{path}");
    }
}

#[test]
fn a_pipeline_can_write_only_to_the_folder_of_its_stack_in_the_shared_bucket() {
    let template = file("infra/examples/deploy-role.yaml");
    let objects: Vec<_> = template.split("${ArtifactBucket}/").skip(1).collect();
    assert_eq!(objects.len(), 2);
    for object in objects {
        assert!(object.starts_with("${StackName}/*"), "{object}");
    }
    let settings = file("infra/samconfig.toml");
    let stacks = values(&settings, "stack_name = ");
    assert_eq!(stacks.len(), 4);
    assert_eq!(values(&settings, "s3_prefix = "), stacks);
}

#[test]
fn a_role_with_the_permissions_boundary_can_sign_only_with_keys_of_its_stack() {
    let template = file("infra/examples/deploy-role.yaml");
    let (_, sign) = template.split_once("kms:Sign]").unwrap();
    let (statement, _) = sign.split_once("- Effect").unwrap();
    let condition =
        r#"ForAnyValue:StringLike: { kms:ResourceAliases: !Sub "alias/${StackName}/*" }"#;
    assert!(statement.contains(condition), "{statement}");
}

variable "cluster_arn" {}

variable "name" {
  default = "svc"
}

resource "aws_iam_role" "this" {
  name               = "${var.name}-role"
  assume_role_policy = file("trust.json")
}

resource "aws_iam_role_policy" "this" {
  role   = aws_iam_role.this.id
  policy = templatefile("${path.module}/policy.json.tftpl", { cluster = var.cluster_arn, actions = ["dsql:DbConnect"] })
}
